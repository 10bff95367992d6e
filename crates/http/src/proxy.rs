//! Proxies by the usual environment variables, but never for this machine itself.
//!
//! `reqwest` reads them too, and would send a call to the sandbox on loopback through a company's proxy
//! where `NO_PROXY` does not happen to name it.

use reqwest::{ClientBuilder, NoProxy, Proxy};

const THIS_MACHINE: &str = "localhost,127.0.0.0/8,::1";

type Make = fn(String) -> reqwest::Result<Proxy>;

/// Applies `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in either case.
pub(crate) fn apply(builder: ClientBuilder) -> reqwest::Result<ClientBuilder> {
    let variable = |name: &str| {
        let value = std::env::var(name).or_else(|_| std::env::var(name.to_lowercase())).ok();
        value.filter(|value| !value.is_empty())
    };
    let exempt =
        variable("NO_PROXY").map_or(THIS_MACHINE.to_owned(), |list| format!("{list},{THIS_MACHINE}"));
    let kinds: [(&str, Make); 3] =
        [("HTTPS_PROXY", Proxy::https), ("HTTP_PROXY", Proxy::http), ("ALL_PROXY", Proxy::all)];
    let mut builder = builder.no_proxy();
    for (name, make) in kinds {
        if let Some(url) = variable(name) {
            builder = builder.proxy(make(url)?.no_proxy(NoProxy::from_string(&exempt)));
        }
    }
    Ok(builder)
}
