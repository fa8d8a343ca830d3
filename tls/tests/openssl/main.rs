//! Keys and certificates as `openssl` makes them: each form is read, and what is wrong is told.

mod certificates;
mod changed;
mod folder;
mod keys;
mod roots;
mod trust;
