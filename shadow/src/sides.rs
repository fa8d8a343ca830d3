use serde::Serialize;

/// One of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The server that is in use.
    Old,
    /// The server that is to take its place.
    New,
}

impl Side {
    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::Old => Self::New,
            Self::New => Self::Old,
        }
    }
}

/// Something of each server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sides<T> {
    /// That of the old one.
    pub old: T,
    /// That of the new one.
    pub new: T,
}

impl<T> Sides<T> {
    /// That of `side`, and that of the other one.
    pub(crate) fn of(side: Side, own: T, other: T) -> Self {
        match side {
            Side::Old => Self { old: own, new: other },
            Side::New => Self { old: other, new: own },
        }
    }

    pub(crate) const fn get(&self, side: Side) -> &T {
        match side {
            Side::Old => &self.old,
            Side::New => &self.new,
        }
    }
}
