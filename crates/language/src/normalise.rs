//! From what somebody typed to words that can be compared.
//!
//! Compatibility forms, case and lengthening are undone, so that 𝐒𝐨𝐨𝐨𝐨𝐨, SOOO and soo are one word; addresses, names
//! after an @ and numbers become classes, since nobody learns from the digits. Nothing here knows a
//! language.

use unicode_normalization::UnicodeNormalization as _;

/// More letters of a text than these are not read; comments are shorter, and nobody shall make us slow.
const MAX_CHARS: usize = 4_000;

/// An address is told by at most this many of its letters.
const LONGEST_ADDRESS: usize = 300;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Letters, with marks and apostrophes within.
    Word,
    /// Digits, whatever they are separated by.
    Number,
    /// A time such as 3:15.
    Time,
    /// An emoji or another picture.
    Emoji,
    /// A run of the same mark.
    Mark,
    /// An address of the web.
    Url,
    /// An address of mail.
    Email,
    /// A name after an @.
    Mention,
    /// A word after a #.
    Hashtag,
}

/// A part of a text, by its place in [`Text::chars`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Whether it was written in capitals throughout.
    pub(crate) shouted: bool,
    /// Whether letters were repeated for emphasis.
    pub(crate) lengthened: bool,
}

/// A text in its normal form.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text {
    /// Lower-case letters of all tokens, one after the other.
    pub(crate) chars: Vec<char>,
    pub(crate) tokens: Vec<Token>,
    raw: Vec<char>,
}

impl Text {
    /// Reads a text anew, into the same memory.
    pub(crate) fn read(&mut self, text: &str) {
        self.raw.clear();
        self.chars.clear();
        self.tokens.clear();
        if text.is_ascii() {
            self.raw.extend(text.chars().take(MAX_CHARS));
        } else {
            self.raw.extend(text.nfkc().filter(|c| !is_invisible(*c)).take(MAX_CHARS));
        }
        let mut at = 0;
        while at < self.raw.len() {
            at = self.token(at);
        }
    }

    /// Returns the letters of a token.
    pub(crate) fn letters(&self, token: &Token) -> &[char] {
        &self.chars[token.start..token.end]
    }

    /// Takes the token that begins here; returns where the next may begin.
    fn token(&mut self, at: usize) -> usize {
        let first = self.raw[at];
        if first.is_whitespace() {
            return at + 1;
        }
        if let Some(end) = self.address(at) {
            return end;
        }
        if (first == '@' || first == '#') && self.raw.get(at + 1).is_some_and(|next| is_of_name(*next)) {
            let end = self.while_from(at + 1, |c| is_of_name(c) || c == '.');
            let kind = if first == '@' { Kind::Mention } else { Kind::Hashtag };
            self.push(kind, at + 1, end);
            return end;
        }
        if first.is_numeric() {
            let end = self.while_from(at, |c| c.is_numeric() || matches!(c, '.' | ',' | ':'));
            let is_time = self.raw[at..end].contains(&':');
            self.push(if is_time { Kind::Time } else { Kind::Number }, at, end);
            return end;
        }
        if is_of_word(first) {
            let end = self.word_end(at);
            self.push(Kind::Word, at, end);
            return end;
        }
        if is_picture(first) {
            // One token each, and one for a run of the same: ❤️❤️❤️.
            let end = self.while_from(at + 1, |c| c == first);
            self.push(Kind::Emoji, at, end);
            return end;
        }
        let end = self.while_from(at + 1, |c| c == first);
        self.push(Kind::Mark, at, end);
        end
    }

    /// Returns where letters of this kind end.
    fn while_from(&self, at: usize, is_in: impl Fn(char) -> bool) -> usize {
        self.raw[at..].iter().position(|c| !is_in(*c)).map_or(self.raw.len(), |n| at + n)
    }

    /// Returns the end of the word that begins here: an apostrophe within belongs to it.
    fn word_end(&self, at: usize) -> usize {
        let mut end = at;
        while end < self.raw.len() {
            let c = self.raw[end];
            let within = is_apostrophe(c)
                && end > at
                && self.raw.get(end + 1).is_some_and(|next| next.is_alphabetic());
            if !(is_of_word(c) || within || c.is_numeric() && end > at) {
                break;
            }
            end += 1;
        }
        end
    }

    /// Takes an address of the web or of mail, if one begins here.
    fn address(&mut self, at: usize) -> Option<usize> {
        let first = self.raw[at];
        if !first.is_ascii_alphanumeric() {
            return None;
        }
        // Most words are none: look for a sign of it before anything is compared.
        let end = self.while_from(at, |c| !c.is_whitespace());
        // Looked for again at every token, so a long text without a space must not be looked through each time.
        let piece = &self.raw[at..end.min(at + LONGEST_ADDRESS)];
        let has = |sign: char| piece.contains(&sign);
        if !has('.') && !has(':') {
            return None;
        }
        let starts = |prefix: &str| {
            piece.len() > prefix.len() && prefix.chars().zip(piece).all(|(a, b)| a == b.to_ascii_lowercase())
        };
        if starts("http://") || starts("https://") || starts("www.") {
            self.push(Kind::Url, at, end);
            return Some(end);
        }
        if has('@') && piece.iter().position(|c| *c == '@') < piece.iter().rposition(|c| *c == '.') {
            self.push(Kind::Email, at, end);
            return Some(end);
        }
        // name.tld, with or without a path: letters around a dot, and a top level that is used for links.
        let host = piece.iter().position(|c| *c == '/').map_or(piece, |slash| &piece[..slash]);
        let host: String = host.iter().collect::<String>().to_ascii_lowercase();
        let (name, top) = host.trim_end_matches(['.', ',', '!', ')']).rsplit_once('.')?;
        let known = matches!(
            top,
            "com"
                | "net"
                | "org"
                | "io"
                | "co"
                | "me"
                | "tv"
                | "ly"
                | "gg"
                | "be"
                | "info"
                | "biz"
                | "xyz"
                | "shop"
                | "site"
                | "online"
                | "club"
                | "app"
                | "link"
                | "live"
                | "ru"
                | "de"
                | "uk"
                | "fr"
                | "br"
                | "in"
        );
        let is_host = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        if !known || name.is_empty() || !name.chars().all(is_host) || name.ends_with('.') {
            return None;
        }
        self.push(Kind::Url, at, end);
        Some(end)
    }

    /// Adds a token, in lower case and without lengthening.
    fn push(&mut self, kind: Kind, from: usize, to: usize) {
        let start = self.chars.len();
        let (mut lengthened, mut upper, mut lower) = (false, 0, 0);
        match kind {
            Kind::Url | Kind::Email => {}
            Kind::Number | Kind::Time => self.chars.push('0'),
            Kind::Mark | Kind::Emoji => {
                // How many there are matters little beyond two.
                self.chars.extend_from_slice(&self.raw[from..to.min(from + 2)]);
                lengthened = to - from > 2;
            }
            Kind::Word | Kind::Mention | Kind::Hashtag => {
                for at in from..to {
                    let c = self.raw[at];
                    upper += usize::from(c.is_uppercase());
                    lower += usize::from(c.is_lowercase());
                    let c = if is_apostrophe(c) { '\'' } else { c };
                    for c in c.to_lowercase() {
                        let written = &self.chars[start..];
                        if c.is_alphabetic() && written.len() > 1 && written[written.len() - 2..] == [c, c] {
                            lengthened = true;
                        } else {
                            self.chars.push(c);
                        }
                    }
                }
            }
        }
        let end = self.chars.len();
        self.tokens.push(Token { kind, start, end, shouted: upper > 1 && lower == 0, lengthened });
    }
}

/// Letters, and the marks that letters of many scripts need.
fn is_of_word(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphabetic();
    }
    c.is_alphabetic() || unicode_normalization::char::is_combining_mark(c)
}

fn is_of_name(c: char) -> bool {
    is_of_word(c) || c.is_numeric() || c == '_'
}

const fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '’' | '‘' | '`' | '´')
}

/// Joiners, selectors of a look, marks of direction: nobody sees them, and spammers hide behind them.
pub(crate) const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0000}'..='\u{e007f}'
    )
}

/// Emoji and other pictures, by the blocks that hold them.
pub(crate) const fn is_picture(c: char) -> bool {
    matches!(
        c,
        '\u{1f000}'..='\u{1faff}' | '\u{2600}'..='\u{27bf}' | '\u{2b00}'..='\u{2bff}' | '\u{2300}'..='\u{23ff}'
            | '\u{2190}'..='\u{21ff}' | '\u{25a0}'..='\u{25ff}' | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}'
    )
}
