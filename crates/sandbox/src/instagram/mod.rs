//! Instagram's side: the consent and the tokens of Instagram Login, and who one is.

pub(crate) mod oauth;
