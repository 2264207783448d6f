"""Property tests: reproducible, and never judged by the time they take."""

from hypothesis import settings

settings.register_profile('suite', deadline=None, derandomize=True, database=None, max_examples=60)
settings.load_profile('suite')
