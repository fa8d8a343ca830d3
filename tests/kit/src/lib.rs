//! Parts that tests of several crates share: a real OpenBao, certificates, conditions to wait for.
