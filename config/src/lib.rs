//! The configuration file of kes.
