"""What notices that something arrived: `files` watches folders, `topics` watches partitions. They share no module."""
