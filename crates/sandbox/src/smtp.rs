//! A mail server that keeps what it gets, and goes wrong where it is told to.
//!
//! As much of RFC 5321 as a client that sends mail needs, over plain TCP. It delivers nothing.

use std::{io, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{endpoint::Endpoint, faults::Fault, sandbox::Sandbox};

/// The largest message.
const MAX_BYTES: usize = 10 * 1024 * 1024;
/// How long a server hangs that hangs; longer than anybody waits.
const HANGS: Duration = Duration::from_hours(1);

/// A message that the server has taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// From whom, by the envelope.
    pub from: String,
    /// To whom, by the envelope.
    pub to: Vec<String>,
    /// All of it, headers and parts.
    pub data: String,
}

impl Received {
    /// Returns the value of a header, unfolded.
    pub fn header(&self, name: &str) -> Option<String> {
        let head = self.data.split("\r\n\r\n").next()?.replace("\r\n ", " ").replace("\r\n\t", " ");
        head.split("\r\n").find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }
}

/// What a mail server can do to a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mishap", rename_all = "snake_case")]
pub enum Mishap {
    /// It answers with a code that is not positive.
    Answer {
        /// To which command.
        at: Point,
        /// The basic code, such as 550 or 451.
        code: u16,
        /// What follows it, such as `5.1.1 no such user`.
        text: String,
    },
    /// It cuts the connection instead of answering; the message is lost.
    Drop {
        /// After which command.
        at: Point,
    },
    /// It never answers; the message is lost.
    Hang {
        /// After which command.
        at: Point,
    },
    /// It takes the message and dies before it can say so.
    AcceptAndDie,
    /// It takes the message and never says so.
    AcceptAndHang,
}

/// A point in the sending of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// After `MAIL FROM`.
    Mail,
    /// After `RCPT TO`.
    Rcpt,
    /// After `DATA`.
    Data,
    /// After the final dot.
    Dot,
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, sandbox: Sandbox) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = clients.join_next() => {}
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let _ = stream.set_nodelay(true);
                let sandbox = sandbox.clone();
                clients.spawn(async move {
                    if let Err(error) = Session::new(stream, sandbox).run().await {
                        tracing::debug!(%error, "A client of the mail server left");
                    }
                });
            }
        }
    }
}

/// A client, and what it has said of a message so far.
struct Session {
    stream: BufReader<TcpStream>,
    sandbox: Sandbox,
    from: Option<String>,
    to: Vec<String>,
    mishaps: Vec<Mishap>,
}

/// What becomes of the connection.
enum Next {
    Go,
    End,
}

impl Session {
    fn new(stream: TcpStream, sandbox: Sandbox) -> Self {
        Self { stream: BufReader::new(stream), sandbox, from: None, to: Vec::new(), mishaps: Vec::new() }
    }

    async fn run(mut self) -> io::Result<()> {
        self.say("220 sandbox ESMTP").await?;
        let mut line = String::new();
        loop {
            line.clear();
            if self.stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let next = self.command(line.trim_end()).await?;
            if let Next::End = next {
                return Ok(());
            }
        }
    }

    async fn command(&mut self, line: &str) -> io::Result<Next> {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_uppercase();
        match verb.as_str() {
            "EHLO" => {
                let lines = [
                    "250-sandbox",
                    "250-8BITMIME",
                    "250-SMTPUTF8",
                    "250-ENHANCEDSTATUSCODES",
                    "250 SIZE 10485760",
                ];
                self.say(&lines.join("\r\n")).await?;
            }
            "HELO" | "NOOP" => self.say("250 sandbox").await?,
            "RSET" => {
                self.forget();
                self.say("250 2.0.0 forgotten").await?;
            }
            "QUIT" => {
                self.say("221 2.0.0 bye").await?;
                return Ok(Next::End);
            }
            "MAIL" => {
                let met = self.sandbox.faults().met_by(Endpoint::Smtp);
                self.mishaps = met
                    .into_iter()
                    .filter_map(|fault| match fault {
                        Fault::Mail(mishap) => Some(mishap),
                        _ => None,
                    })
                    .collect();
                self.from = Some(address(line));
                return self.answer(Point::Mail, "250 2.1.0 from whom").await;
            }
            "RCPT" if self.from.is_some() => {
                self.to.push(address(line));
                return self.answer(Point::Rcpt, "250 2.1.5 to whom").await;
            }
            "DATA" if !self.to.is_empty() => {
                if let Next::End = self.answer(Point::Data, "354 go on").await? {
                    return Ok(Next::End);
                }
                if self.refuses(Point::Data) {
                    self.forget();
                    return Ok(Next::Go);
                }
                return self.message().await;
            }
            "RCPT" | "DATA" => self.say("503 5.5.1 say from whom and to whom first").await?,
            _ => self.say("502 5.5.2 unknown command").await?,
        }
        Ok(Next::Go)
    }

    /// Reads a message to its end and keeps it, unless something is to go wrong.
    async fn message(&mut self) -> io::Result<Next> {
        let mut data = String::new();
        loop {
            let mut bytes = Vec::new();
            if self.stream.read_until(b'\n', &mut bytes).await? == 0 || data.len() > MAX_BYTES {
                return Ok(Next::End);
            }
            let line = String::from_utf8_lossy(&bytes);
            if line == ".\r\n" {
                break;
            }
            data.push_str(line.strip_prefix('.').unwrap_or(&line));
        }
        let received = Received { from: self.from.clone().unwrap_or_default(), to: self.to.clone(), data };
        if self.mishaps.contains(&Mishap::AcceptAndDie) {
            self.sandbox.keep_mail(received);
            return Ok(Next::End);
        }
        if self.mishaps.contains(&Mishap::AcceptAndHang) {
            self.sandbox.keep_mail(received);
            return Ok(self.hang().await);
        }
        let goes_wrong = self.mishaps.iter().any(|mishap| point(mishap) == Some(Point::Dot));
        if !goes_wrong {
            // Kept before it is said, as a server does that loses nothing.
            self.sandbox.keep_mail(received);
        }
        let next = self.answer(Point::Dot, "250 2.0.0 taken").await?;
        self.forget();
        Ok(next)
    }

    fn refuses(&self, at: Point) -> bool {
        self.mishaps.iter().any(|mishap| matches!(mishap, Mishap::Answer { at: there, .. } if *there == at))
    }

    async fn answer(&mut self, at: Point, otherwise: &str) -> io::Result<Next> {
        let mishap = self.mishaps.iter().find(|mishap| point(mishap) == Some(at)).cloned();
        match mishap {
            Some(Mishap::Answer { code, text, .. }) => self.say(&format!("{code} {text}")).await?,
            Some(Mishap::Drop { .. }) => return Ok(Next::End),
            Some(Mishap::Hang { .. }) => return Ok(self.hang().await),
            Some(Mishap::AcceptAndDie | Mishap::AcceptAndHang) | None => self.say(otherwise).await?,
        }
        Ok(Next::Go)
    }

    async fn hang(&self) -> Next {
        self.sandbox.count_hanging();
        tokio::time::sleep(HANGS).await;
        Next::End
    }

    fn forget(&mut self) {
        self.from = None;
        self.to.clear();
        self.mishaps.clear();
    }

    /// Says something, as late as a network would bring it.
    async fn say(&mut self, text: &str) -> io::Result<()> {
        tokio::time::sleep(self.sandbox.inner.settings.latency).await;
        self.stream.get_mut().write_all(format!("{text}\r\n").as_bytes()).await
    }
}

fn point(mishap: &Mishap) -> Option<Point> {
    match mishap {
        Mishap::Answer { at, .. } | Mishap::Drop { at } | Mishap::Hang { at } => Some(*at),
        Mishap::AcceptAndDie | Mishap::AcceptAndHang => None,
    }
}

/// Returns what stands between the angle brackets.
fn address(line: &str) -> String {
    let inside = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside.map_or_else(String::new, |(inside, _)| inside.to_owned())
}
