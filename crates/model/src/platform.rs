//! The platforms an account can be connected on.

/// A platform of the seed's list, written in the database by its lower-case name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Platform {
    Google,
    Facebook,
    Tripadvisor,
    Twitter,
    Youtube,
    Instagram,
    Tiktok,
}

/// A platform's name that is not one of the list.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownPlatform(pub String);

impl std::fmt::Display for UnknownPlatform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "unknown platform {:?}: use one of ", self.0)?;
        for (i, platform) in Platform::ALL.iter().enumerate() {
            write!(f, "{}{platform}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownPlatform {}

impl Platform {
    /// Every platform, in the seed's order.
    pub const ALL: [Self; 7] = [
        Self::Google,
        Self::Facebook,
        Self::Tripadvisor,
        Self::Twitter,
        Self::Youtube,
        Self::Instagram,
        Self::Tiktok,
    ];

    /// Returns the name as it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Google => "google",
            Self::Facebook => "facebook",
            Self::Tripadvisor => "tripadvisor",
            Self::Twitter => "twitter",
            Self::Youtube => "youtube",
            Self::Instagram => "instagram",
            Self::Tiktok => "tiktok",
        }
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Platform {
    type Err = UnknownPlatform;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|p| p.as_str() == text).ok_or_else(|| UnknownPlatform(text.to_owned()))
    }
}
