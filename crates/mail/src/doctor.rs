//! What receivers of mail look at before they believe that it is ours: looked at from here, before they do.
//!
//! The rules of the big providers: SPF and DKIM, DMARC with a From that is aligned to one of them, a name for the
//! sending address, TLS, and news that are left with one click, signed. Whether a message has them is decided where it
//! arrives; [`message`] reads that from one that has arrived.
//!
//! Not here: whether the address that sends is one that SPF allows. A provider's servers are many, and known to nobody
//! but it; the SPF verdict stands in a message that has arrived.

use std::net::IpAddr;
use std::time::Duration;

use greenroom_queue::doctor::Finding;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use mail_parser::MessageParser;

use crate::{Mail, MailError, TransportKind};

/// How long one question may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the names of domains.
#[derive(Clone, Debug)]
pub struct Names(TokioResolver);

/// What a name has.
enum Answer {
    /// These.
    Found(Vec<String>),
    /// Nothing.
    Nothing,
    /// Nobody knows.
    Unreached(String),
}

impl Names {
    /// Asks the servers that this machine asks.
    pub fn of_this_machine() -> Result<Self, MailError> {
        let wrong = |error: hickory_resolver::net::NetError| MailError::Resolver(error.to_string());
        let mut builder = TokioResolver::builder_tokio().map_err(wrong)?;
        builder.options_mut().timeout = TIMEOUT;
        Ok(Self(builder.build().map_err(wrong)?))
    }

    /// Asks one server.
    pub fn at(address: IpAddr, port: u16) -> Result<Self, MailError> {
        let mut server = NameServerConfig::udp_and_tcp(address);
        for connection in &mut server.connections {
            connection.port = port;
        }
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.options_mut().timeout = TIMEOUT;
        builder.options_mut().attempts = 1;
        Ok(Self(builder.build().map_err(|error| MailError::Resolver(error.to_string()))?))
    }

    async fn txt(&self, name: &str) -> Answer {
        answer(self.0.txt_lookup(format!("{name}.")).await, |data| match data {
            // A text longer than 255 bytes comes in pieces.
            RData::TXT(txt) => {
                Some(txt.txt_data.iter().map(|piece| String::from_utf8_lossy(piece)).collect())
            }
            _ => None,
        })
    }

    async fn mx(&self, name: &str) -> Answer {
        answer(self.0.mx_lookup(format!("{name}.")).await, |data| match data {
            RData::MX(mx) => Some(mx.exchange.to_utf8()),
            _ => None,
        })
    }

    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        let found = self.0.lookup_ip(format!("{name}.")).await;
        found.map(|found| found.iter().collect()).map_err(|error| error.to_string())
    }

    async fn reverse(&self, address: IpAddr) -> Answer {
        answer(self.0.reverse_lookup(address).await, |data| match data {
            RData::PTR(name) => Some(name.0.to_utf8().trim_end_matches('.').to_lowercase()),
            _ => None,
        })
    }
}

fn answer(
    looked: Result<hickory_resolver::lookup::Lookup, hickory_resolver::net::NetError>,
    read: impl Fn(&RData) -> Option<String>,
) -> Answer {
    match looked {
        Ok(lookup) => {
            let found: Vec<_> = lookup.answers().iter().filter_map(|record| read(&record.data)).collect();
            if found.is_empty() { Answer::Nothing } else { Answer::Found(found) }
        }
        Err(error) if error.is_no_records_found() || error.is_nx_domain() => Answer::Nothing,
        Err(error) => Answer::Unreached(error.to_string()),
    }
}

/// What could not be asked for; it says nothing about us.
fn unasked(why: String) -> Finding {
    Finding::warning(why, "see that this machine can ask a DNS server")
}

/// Looks at the server and at what the names of our domains say.
pub async fn look(mail: &Mail, names: &Names) -> Vec<Finding> {
    let settings = &mail.settings;
    let from = settings.domain();
    let envelope = if settings.bounce_domain.is_empty() { &from } else { &settings.bounce_domain };
    let mut found = vec![server(mail).await.of("server")];
    if settings.transport == TransportKind::Smtp {
        found.push(name_of_server(&settings.smtp_host, names).await.of("PTR"));
    }
    if settings.transport == TransportKind::Resend {
        let says = "the return path is the provider's own";
        let advice = "look at a message that has arrived (--eml)";
        found.push(Finding::warning(says, advice).of("SPF"));
    } else {
        found.push(spf(envelope, names).await.of("SPF"));
        found.push(alignment(envelope, &from).of("alignment"));
    }
    found.push(dkim(mail, names).await.of("DKIM"));
    found.push(dmarc(&from, names).await.of("DMARC"));
    if !settings.bounce_domain.is_empty() {
        found.push(bounces(&settings.bounce_domain, names).await.of("bounces"));
    }
    found
}

async fn server(mail: &Mail) -> Finding {
    let transport = match mail.settings.transport {
        TransportKind::File => "messages go into a folder, and reach nobody",
        TransportKind::Null => "messages are only counted, and reach nobody",
        TransportKind::Smtp | TransportKind::Resend => {
            return match mail.transport.greet().await {
                Ok(says) => Finding::ok(says),
                Err(why) => Finding::problem(why, "mend the settings of [mail], or the server"),
            };
        }
    };
    Finding::warning(transport, "set mail.transport to smtp or resend where people are to get them")
}

/// The sending address needs a name that leads back to it. Where the server hands on to others, that is theirs.
async fn name_of_server(host: &str, names: &Names) -> Finding {
    let addresses = match host.parse() {
        Ok(address) => vec![address],
        Err(_) => match names.addresses(host).await {
            Ok(addresses) => addresses,
            Err(why) => return unasked(format!("{host} has no address: {why}")),
        },
    };
    let mut without = Vec::new();
    for address in &addresses {
        let mut is_confirmed = false;
        match names.reverse(*address).await {
            Answer::Found(found) => {
                for name in found {
                    is_confirmed |= names.addresses(&name).await.is_ok_and(|back| back.contains(address));
                }
            }
            Answer::Nothing => {}
            Answer::Unreached(why) => return unasked(why),
        }
        if !is_confirmed {
            without.push(address.to_string());
        }
    }
    if without.is_empty() {
        return Finding::ok(format!("{host} has a name that leads back to it"));
    }
    Finding::warning(
        format!("{} of {host} has no name that leads back to it", without.join(", ")),
        "if it delivers to receivers itself, set its PTR record",
    )
}

async fn spf(domain: &str, names: &Names) -> Finding {
    let found = match names.txt(domain).await {
        Answer::Found(found) => found,
        Answer::Nothing => Vec::new(),
        Answer::Unreached(why) => return unasked(why),
    };
    let is_spf =
        |text: &&String| text.split(' ').next().is_some_and(|first| first.eq_ignore_ascii_case("v=spf1"));
    let records: Vec<_> = found.iter().filter(is_spf).collect();
    let [record] = records.as_slice() else {
        return if records.is_empty() {
            let advice = "add a TXT record there, such as \"v=spf1 include:<provider> ~all\"";
            Finding::problem(format!("{domain} has no SPF record"), advice)
        } else {
            let says = format!("{domain} has {} SPF records, which is as good as none", records.len());
            Finding::problem(says, "merge them into one")
        };
    };
    let last = record.split_whitespace().last().unwrap_or_default().to_lowercase();
    let says = format!("{domain}: \"{record}\"");
    match last.as_str() {
        "+all" | "all" | "?all" => Finding::problem(says, "it lets everybody send: end it with ~all or -all"),
        _ if last.ends_with("all") || last.starts_with("redirect=") => Finding::ok(says),
        _ => Finding::warning(says, "it has no end: add ~all or -all"),
    }
}

/// DMARC believes SPF only where the return path is of the same house as the From.
fn alignment(envelope: &str, from: &str) -> Finding {
    let is_below = |below: &str, above: &str| below == above || below.ends_with(&format!(".{above}"));
    if is_below(envelope, from) || is_below(from, envelope) {
        return Finding::ok(format!("return path {envelope} and From {from} are of one house"));
    }
    Finding::warning(
        format!("return path {envelope} and From {from} are of two houses: DMARC then rests on DKIM alone"),
        format!("use a mail.bounce_domain below {from}"),
    )
}

async fn dkim(mail: &Mail, names: &Names) -> Finding {
    let Some(dkim) = &mail.dkim else {
        let advice = "look at a message that has arrived (--eml), or sign here: set mail.dkim_selector";
        return Finding::warning("whether messages are signed is the server's affair", advice);
    };
    let (name, record) = (dkim.name(), dkim.record());
    let advice = format!("set its TXT record to \"{record}\"");
    let key = |text: &str| {
        let mut parts = text.split(';').map(|part| part.split_whitespace().collect::<String>());
        parts.find_map(|part| part.strip_prefix("p=").map(str::to_owned))
    };
    match names.txt(&name).await {
        Answer::Found(found) if found.iter().any(|text| key(text) == key(&record)) => {
            Finding::ok(format!("{name} has the key that signs"))
        }
        Answer::Found(_) => {
            Finding::problem(format!("{name} has another key than the one that signs"), advice)
        }
        Answer::Nothing => Finding::problem(format!("{name} has no key"), advice),
        Answer::Unreached(why) => unasked(why),
    }
}

/// The policy stands at the domain itself or at one above it.
async fn dmarc(from: &str, names: &Names) -> Finding {
    let mut domain = from;
    loop {
        match names.txt(&format!("_dmarc.{domain}")).await {
            Answer::Found(found) => {
                if let Some(record) = found.iter().find(|text| text.starts_with("v=DMARC1")) {
                    return Finding::ok(format!("_dmarc.{domain}: \"{record}\""));
                }
            }
            Answer::Nothing => {}
            Answer::Unreached(why) => return unasked(why),
        }
        match domain.split_once('.') {
            Some((_, above)) if above.contains('.') => domain = above,
            _ => break,
        }
    }
    Finding::problem(
        format!("_dmarc.{from} has no policy, which big providers want of everybody who sends much"),
        "add a TXT record there: \"v=DMARC1; p=none; rua=mailto:<an address of yours>\"",
    )
}

async fn bounces(domain: &str, names: &Names) -> Finding {
    match names.mx(domain).await {
        Answer::Found(servers) => {
            Finding::ok(format!("what comes back to {domain} is taken by {}", servers.join(", ")))
        }
        Answer::Nothing => {
            let advice =
                "give it an MX record, and see that its server hands on to `greenroom bounce ingest`";
            Finding::problem(format!("nobody takes what comes back to {domain}"), advice)
        }
        Answer::Unreached(why) => unasked(why),
    }
}

/// Looks at a message that has arrived: what its receiver thought of it, and what is signed.
pub fn message(bytes: &[u8]) -> Vec<Finding> {
    let message = MessageParser::default().parse(bytes).filter(|message| !message.headers().is_empty());
    let Some(message) = message else {
        let advice = "save one with all its headers, as .eml";
        return vec![Finding::problem("it is no message", advice).of("message")];
    };
    let raw = |name: &str| -> Vec<String> {
        let found = message.headers_raw().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    // The first is the one that was added last: the receiver's own.
    let mut found = match raw("Authentication-Results").first() {
        None => {
            let advice =
                "look at one that a big provider has received: it notes them in Authentication-Results";
            vec![Finding::warning("its receiver has noted no verdicts", advice).of("verdicts")]
        }
        Some(results) => {
            let methods = [("SPF", "spf"), ("DKIM", "dkim"), ("DMARC", "dmarc")];
            methods.map(|(check, method)| verdict(results, method).of(check)).into()
        }
    };
    found.push(
        one_click(&raw("List-Unsubscribe"), &raw("List-Unsubscribe-Post"), &raw("DKIM-Signature"))
            .of("one click"),
    );
    found
}

/// Reads what a receiver found by one method.
fn verdict(results: &str, method: &str) -> Finding {
    let of_method = results.split(';').filter_map(|part| part.trim().strip_prefix(method)?.strip_prefix('='));
    let found: Vec<_> = of_method.filter_map(|result| result.split([' ', '(']).next()).collect();
    if found.is_empty() {
        return Finding::warning("its receiver did not look", "look at one that a big provider has received");
    }
    if found.contains(&"pass") {
        return Finding::ok("its receiver says: pass");
    }
    Finding::problem(
        format!("its receiver says: {}", found.join(", ")),
        "see what `mail doctor` finds without --eml",
    )
}

/// News are left with one click where both headers are there, and signed.
fn one_click(list: &[String], post: &[String], signatures: &[String]) -> Finding {
    if list.is_empty() {
        let says = "it has no List-Unsubscribe, which is right for what people have to know";
        return Finding::warning(says, "if it is news, set UNSUBSCRIBE_KEY");
    }
    if post.is_empty() {
        let advice = "have whatever is on the way leave it in";
        return Finding::problem("List-Unsubscribe-Post is missing", advice);
    }
    let covers = |signature: &String| {
        let signed = signature.split(';').find_map(|part| part.trim().strip_prefix("h=")).unwrap_or_default();
        let signed: Vec<_> = signed.split(':').map(|name| name.trim().to_lowercase()).collect();
        ["list-unsubscribe", "list-unsubscribe-post"]
            .iter()
            .all(|name| signed.iter().any(|signed| signed == name))
    };
    if signatures.iter().any(covers) {
        return Finding::ok("a signature covers both headers");
    }
    let advice =
        "have the provider sign them, or sign here (mail.dkim_selector): without, the button is not shown";
    Finding::problem("no DKIM signature covers both List-Unsubscribe and List-Unsubscribe-Post", advice)
}

#[cfg(test)]
mod tests;
