"""Legacy recordings into episodes: collector folders, `recv_all_*` sessions, v4 HDF5 files."""
