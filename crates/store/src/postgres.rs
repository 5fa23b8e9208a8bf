//! PostgreSQL beside any number of equal nodes.
