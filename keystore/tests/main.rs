//! The key store against real servers. One binary, because linking it is what takes the time.

mod vault;
