"""What deploys are checked and planned by: from specs to plans, without writing anything."""
