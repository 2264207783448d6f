"""Device protocols, without ROS: bytes come in, readings with receive times go out."""
