//! Scripts: many languages are told by their letters alone.

/// A group of letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    /// That of most of Europe and of much else.
    Latin,
    /// Russian, Ukrainian, Bulgarian, Serbian.
    Cyrillic,
    /// Arabic, Persian, Urdu.
    Arabic,
    /// Chinese, and with kana Japanese.
    Han,
    /// A script that one language among those we tell apart is written in.
    Of(&'static str),
}

/// Returns the script of a letter; nothing for what is in all of them.
pub(crate) const fn of(letter: char) -> Option<Script> {
    Some(match letter {
        'a'..='z' | 'A'..='Z' | 'ª' | 'º' | 'À'..='ʯ' | 'Ḁ'..='ỿ' => Script::Latin,
        '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}' => Script::Of("el"),
        '\u{400}'..='\u{52f}' => Script::Cyrillic,
        '\u{531}'..='\u{58f}' => Script::Of("hy"),
        '\u{591}'..='\u{5f4}' => Script::Of("he"),
        '\u{600}'..='\u{6ff}'
        | '\u{750}'..='\u{77f}'
        | '\u{8a0}'..='\u{8ff}'
        | '\u{fb50}'..='\u{fdff}'
        | '\u{fe70}'..='\u{fefc}' => Script::Arabic,
        '\u{900}'..='\u{97f}' => Script::Of("hi"),
        '\u{980}'..='\u{9ff}' => Script::Of("bn"),
        '\u{a00}'..='\u{a7f}' => Script::Of("pa"),
        '\u{a80}'..='\u{aff}' => Script::Of("gu"),
        '\u{b00}'..='\u{b7f}' => Script::Of("or"),
        '\u{b80}'..='\u{bff}' => Script::Of("ta"),
        '\u{c00}'..='\u{c7f}' => Script::Of("te"),
        '\u{c80}'..='\u{cff}' => Script::Of("kn"),
        '\u{d00}'..='\u{d7f}' => Script::Of("ml"),
        '\u{d80}'..='\u{dff}' => Script::Of("si"),
        '\u{e00}'..='\u{e7f}' => Script::Of("th"),
        '\u{e80}'..='\u{eff}' => Script::Of("lo"),
        '\u{1000}'..='\u{109f}' => Script::Of("my"),
        '\u{10a0}'..='\u{10ff}' => Script::Of("ka"),
        '\u{1100}'..='\u{11ff}' | '\u{3130}'..='\u{318f}' | '\u{ac00}'..='\u{d7af}' => Script::Of("ko"),
        '\u{1200}'..='\u{137f}' => Script::Of("am"),
        '\u{1780}'..='\u{17ff}' => Script::Of("km"),
        '\u{3040}'..='\u{30ff}' => Script::Of("ja"),
        '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' => Script::Han,
        _ => return None,
    })
}

/// Returns the script that most letters are of. Kana decide for Japanese, however few they are.
pub(crate) fn main(letters: &[char]) -> Option<Script> {
    let mut counts: Vec<(Script, usize)> = Vec::new();
    for script in letters.iter().filter_map(|letter| of(*letter)) {
        match counts.iter_mut().find(|(known, _)| *known == script) {
            Some((_, count)) => *count += 1,
            None => counts.push((script, 1)),
        }
    }
    let most = counts.iter().max_by_key(|(_, count)| *count).map(|(script, _)| *script);
    let kana = Script::Of("ja");
    if most == Some(Script::Han) && counts.iter().any(|(script, _)| *script == kana) {
        Some(kana)
    } else {
        most
    }
}
