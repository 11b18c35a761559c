"""SQL of the contact database: numbered migrations, and the statements of the road, by name."""
