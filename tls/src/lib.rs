//! Private keys, certificates and trust of kes.
