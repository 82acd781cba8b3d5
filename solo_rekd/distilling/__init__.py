"""`solo-rekd distil`: from a folder of photos and a teacher's file to a small network to deploy."""
