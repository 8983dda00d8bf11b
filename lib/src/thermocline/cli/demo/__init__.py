"""``thermocline demo``: the main job on a real conversation."""
