"""The lab on the wire: MuJoCo Meca500, cameras and OCT/force sensor speaking the real wire formats."""
