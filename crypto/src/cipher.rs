//! The two ciphers, and every spelling of their names.

/// Which cipher a key is for. The envelope of each is in the [crate's head](crate).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cipher {
    /// AES-256-GCM under a key derived with HMAC-SHA256.
    Aes256,
    /// ChaCha20-Poly1305 under a key derived with HChaCha20. A FIPS build does not have it.
    #[cfg(not(feature = "fips"))]
    ChaCha20,
}

impl Cipher {
    /// All ciphers of this build.
    pub const ALL: &[Self] = &[
        Self::Aes256,
        #[cfg(not(feature = "fips"))]
        Self::ChaCha20,
    ];

    /// The cipher for a new key: AES if the CPU has instructions for it, otherwise ChaCha20,
    /// because AES in software is slow.
    #[must_use]
    #[cfg(not(feature = "fips"))]
    pub fn preferred() -> Self {
        if cpu_has_aes() { Self::Aes256 } else { Self::ChaCha20 }
    }

    /// The cipher for a new key, the only one of a FIPS build.
    #[must_use]
    #[cfg(feature = "fips")]
    pub const fn preferred() -> Self {
        Self::Aes256
    }

    /// The cipher with this name, current or of older releases. The comparison is case-sensitive.
    ///
    /// The empty name is not a cipher here; only the older stored keys use it for AES256.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "AES256" | "AES256-GCM_SHA256" => Some(Self::Aes256),
            #[cfg(not(feature = "fips"))]
            "ChaCha20" | "XCHACHA20-POLY1305" => Some(Self::ChaCha20),
            _ => None,
        }
    }

    /// Whether this is a name of ChaCha20 in a FIPS build, which refuses it because it is not
    /// approved (FIPS 140-3). The caller's message can say so, instead of calling the name unknown.
    #[must_use]
    pub fn is_unapproved(name: &str) -> bool {
        cfg!(feature = "fips") && matches!(name, "ChaCha20" | "XCHACHA20-POLY1305")
    }

    /// The name as the API and the stored keys spell it today.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes256 => "AES256",
            #[cfg(not(feature = "fips"))]
            Self::ChaCha20 => "ChaCha20",
        }
    }
}

#[cfg(not(feature = "fips"))]
fn cpu_has_aes() -> bool {
    // The standard library caches the result.
    #[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
    let has_aes = std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    let has_aes = std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64")))]
    let has_aes = false;
    has_aes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_the_contract_is_read_and_no_other() {
        for (name, cipher) in [
            ("AES256", Some(Cipher::Aes256)),
            ("AES256-GCM_SHA256", Some(Cipher::Aes256)),
            #[cfg(not(feature = "fips"))]
            ("ChaCha20", Some(Cipher::ChaCha20)),
            #[cfg(not(feature = "fips"))]
            ("XCHACHA20-POLY1305", Some(Cipher::ChaCha20)),
            #[cfg(feature = "fips")]
            ("ChaCha20", None),
            #[cfg(feature = "fips")]
            ("XCHACHA20-POLY1305", None),
            ("", None),
            ("aes256", None),
            ("chacha20", None),
            ("CHACHA20", None),
            ("AES256 ", None),
            ("AES-256-GCM-HMAC-SHA-256", None),
            ("ChaCha20Poly1305", None),
        ] {
            assert_eq!(Cipher::parse(name), cipher, "{name:?}");
        }
    }

    #[test]
    fn a_name_is_read_back() {
        for cipher in Cipher::ALL {
            assert_eq!(Cipher::parse(cipher.name()), Some(*cipher));
        }
    }

    #[test]
    #[cfg(all(target_os = "linux", not(feature = "fips")))]
    fn aes_is_preferred_where_the_kernel_sees_its_instructions() {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let flags =
            info.lines().find(|line| line.starts_with("flags") || line.starts_with("Features"));
        let aes = flags.is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "aes"));
        assert_eq!(Cipher::preferred() == Cipher::Aes256, aes);
    }

    #[test]
    fn chacha20_is_unapproved_in_a_fips_build_alone() {
        for name in ["ChaCha20", "XCHACHA20-POLY1305"] {
            assert_eq!(Cipher::is_unapproved(name), cfg!(feature = "fips"), "{name}");
        }
        for name in ["AES256", "AES256-GCM_SHA256", "", "DES"] {
            assert!(!Cipher::is_unapproved(name), "{name}");
        }
    }
}
