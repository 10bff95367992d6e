//! A folder instead of a server: one `.eml` a message, and a page that lists them.

use std::path::{Path, PathBuf};

use tokio::fs;
use tokio::io::AsyncWriteExt;

use super::{Outcome, Reply};
use crate::Composed;

/// The folder: `new/` has the messages, as a maildir has them, `pages/` what they look like, and `index.html` a list.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(folder: &str) -> Self {
        Self(PathBuf::from(folder))
    }

    pub(super) async fn send(&self, message: &Composed) -> Outcome {
        match self.write(message).await {
            Ok(()) => Outcome::Accepted(Reply::default()),
            Err(error) => Outcome::Unreached(format!("{}: {error}", self.0.display())),
        }
    }

    /// Writes the message under its id, so that a second time changes nothing.
    async fn write(&self, message: &Composed) -> std::io::Result<()> {
        let (new, tmp, pages) = (self.0.join("new"), self.0.join("tmp"), self.0.join("pages"));
        for folder in [&new, &tmp, &pages, &self.0.join("cur")] {
            fs::create_dir_all(folder).await?;
        }
        let (name, page) = (format!("{}.eml", message.id), format!("{}.html", message.id));
        let is_new = !fs::try_exists(new.join(&name)).await?;
        put(&tmp, &pages.join(&page), message.html.as_bytes()).await?;
        put(&tmp, &new.join(&name), &message.bytes).await?;
        if is_new {
            self.list(&name, &page, message).await?;
        }
        Ok(())
    }

    /// Adds a line to the list. It is only added to, so that many may write at once.
    async fn list(&self, name: &str, page: &str, message: &Composed) -> std::io::Result<()> {
        let path = self.0.join("index.html");
        let head = if fs::try_exists(&path).await? { "" } else { HEAD };
        let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
        let line = format!(
            "{head}<li><a href=\"pages/{page}\">{}</a> to {} (<a href=\"new/{name}\">source</a>)\n",
            escaped(&message.subject),
            escaped(message.to.as_ref()),
        );
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).await?;
        file.write_all(line.as_bytes()).await?;
        file.flush().await
    }
}

const HEAD: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Mail that was not sent</title>\
<style>:root{color-scheme:light dark}body{font:1rem/1.6 system-ui,sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem}</style>\
<h1>Mail that was not sent</h1><ol>\n";

/// Writes a file as a whole or not at all.
async fn put(tmp: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let name = path.file_name().unwrap_or_default();
    let partial = tmp.join(name);
    let mut file = fs::File::create(&partial).await?;
    file.write_all(bytes).await?;
    file.sync_all().await?;
    fs::rename(&partial, path).await
}
