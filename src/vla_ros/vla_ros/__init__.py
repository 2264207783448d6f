"""What every node shares: lifecycle base, parameters, QoS, diagnostics, message conversions, test
helpers.
"""
