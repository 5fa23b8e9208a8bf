//! Agents: the seed's page.
