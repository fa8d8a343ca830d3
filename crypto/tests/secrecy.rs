//! What must not be possible with a secret, checked by the compiler.

use std::fmt::{Debug, Display};

use kes_crypto::{Key, Plaintext, Secret};
use serde::Serialize;
use zeroize::ZeroizeOnDrop;

/// Does not compile if the type has one of the traits: the call is ambiguous then.
macro_rules! assert_lacks {
    ($type:ty: $($forbidden:path),+) => {$(
        const _: () = {
            trait Ambiguous<A> {
                fn call() {}
            }
            impl<T: ?Sized> Ambiguous<()> for T {}
            impl<T: ?Sized + $forbidden> Ambiguous<u8> for T {}
            let _ = <$type as Ambiguous<_>>::call;
        };
    )+};
}

assert_lacks!(Secret: Debug, Display, Clone, PartialEq, Serialize, AsRef<[u8]>);
assert_lacks!(Plaintext: Debug, Display, Clone, PartialEq, Serialize, AsRef<[u8]>);
assert_lacks!(Key: Debug, Display, Clone, PartialEq, Serialize);

const _: () = {
    const fn wiped_on_drop<T: ZeroizeOnDrop>() {}
    wiped_on_drop::<Secret>();
    wiped_on_drop::<Plaintext>();
};
