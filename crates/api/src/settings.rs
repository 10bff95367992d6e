//! The section `[api]` of the settings.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use serde::Deserialize;

use crate::StartError;

/// The section `[api]`; `config/default.toml` says what each one does.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml documents every setting, once")]
pub struct Settings {
    pub listen: SocketAddr,
    pub request_timeout_ms: NonZeroU64,
    pub header_timeout_ms: NonZeroU64,
    pub max_connections: NonZeroU32,
    pub drain_delay_ms: u64,
    pub shutdown_timeout_secs: u64,
}

impl Settings {
    /// Returns where to listen; `PORT`, if a platform sets it, means every interface.
    pub fn address(&self, port: Option<&str>) -> Result<SocketAddr, StartError> {
        let Some(port) = port.filter(|port| !port.is_empty()) else { return Ok(self.listen) };
        let number = port.parse().map_err(|_| StartError::Port(port.to_owned()))?;
        Ok((Ipv4Addr::UNSPECIFIED, number).into())
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms.get())
    }

    pub(crate) fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms.get())
    }

    pub(crate) fn drain_delay(&self) -> Duration {
        Duration::from_millis(self.drain_delay_ms)
    }

    pub(crate) fn shutdown_timeout(&self) -> Duration {
        Duration::from_secs(self.shutdown_timeout_secs)
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::settings;

    #[test]
    fn a_platform_s_port_stands_over_the_setting() {
        let address = |port| settings().address(port).map(|address| address.to_string());
        assert_eq!(address(None).unwrap(), "127.0.0.1:8080");
        assert_eq!(address(Some("")).unwrap(), "127.0.0.1:8080");
        assert_eq!(address(Some("5000")).unwrap(), "0.0.0.0:5000");
        for wrong in ["http", "65536", "-1", "127.0.0.1:80"] {
            let error = address(Some(wrong)).unwrap_err().to_string();
            assert_eq!(error, format!("PORT is {wrong:?}: use a number up to 65535"));
        }
    }
}
