//! X's side, once Twitter's: the consent and the tokens, and who one is.

pub(crate) mod oauth;
