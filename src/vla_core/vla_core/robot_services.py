"""The operator's services of the robot driver, as `robot/<name>` (std_srvs/srv/Trigger).

The driver offers them, the command line calls them. Deliberately names only.
"""

ROBOT_SERVICES = ('enable', 'disable', 'emergency_stop', 'reset', 'withdraw', 'recover')
