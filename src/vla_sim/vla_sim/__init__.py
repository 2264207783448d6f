"""The lab on the wire: a MuJoCo Meca500, cameras and an OCT/force sensor in real wire formats."""
