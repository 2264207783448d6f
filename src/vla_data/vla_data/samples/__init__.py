"""Time-aligned samples from bags, by the contract and exactly as the live node aligns."""

from vla_data.samples.reader import SampleReader, SampleSettings
from vla_data.samples.values import RecordedChunk, Sample, View

__all__ = ['RecordedChunk', 'Sample', 'SampleReader', 'SampleSettings', 'View']
