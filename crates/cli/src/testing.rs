//! Commands run in a test's own process, with streams and secrets of its own.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Write;
use std::sync::{Arc, Mutex};

use greenroom_testkit::Database;
use serde_json::Value;

use crate::{Exit, Terminal, run};

/// A stream that a test reads while a command writes it.
#[derive(Clone, Default)]
pub(crate) struct Stream(Arc<Mutex<Vec<u8>>>);

impl Stream {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A command about to be run.
pub(crate) struct Call {
    args: Vec<OsString>,
    secrets: HashMap<String, String>,
    input: Vec<u8>,
    is_seen: bool,
    pub(crate) out: Stream,
    pub(crate) err: Stream,
}

impl Call {
    pub(crate) fn new(args: &[&str]) -> Self {
        let args = std::iter::once(&"greenroom").chain(args).map(OsString::from).collect();
        let (out, err) = (Stream::default(), Stream::default());
        Self { args, secrets: HashMap::new(), input: Vec::new(), is_seen: false, out, err }
    }

    pub(crate) fn secret(mut self, name: &str, value: &str) -> Self {
        self.secrets.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn database(self, db: &Database) -> Self {
        self.secret("DATABASE_URL", &db.url())
    }

    pub(crate) fn input(mut self, text: impl AsRef<[u8]>) -> Self {
        self.input = text.as_ref().to_vec();
        self
    }

    /// Has somebody look at standard output.
    pub(crate) fn seen(mut self) -> Self {
        self.is_seen = true;
        self
    }

    pub(crate) async fn run(self) -> Said {
        let terminal =
            Terminal::of_test(self.input, self.out.clone(), self.err.clone(), self.is_seen, self.secrets);
        let exit = run(self.args, terminal).await;
        let said = Said { exit, out: self.out.text(), err: self.err.text() };
        // Standard output shows secrets to who asks for them; standard error never does.
        greenroom_testkit::overhear("a command", &said.err);
        said
    }
}

/// What a command said.
pub(crate) struct Said {
    pub(crate) exit: Exit,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn code(&self) -> u8 {
        self.exit as u8
    }

    /// Returns the one document of a command that did what was asked.
    pub(crate) fn document(&self) -> Value {
        assert_eq!(self.exit, Exit::Done, "{}", self.err);
        serde_json::from_str(&self.out).unwrap()
    }

    /// Returns the error of a command under `--json`.
    pub(crate) fn error(&self) -> Value {
        assert_ne!(self.exit, Exit::Done);
        serde_json::from_str(self.err.lines().last().unwrap_or_default()).unwrap()
    }
}
