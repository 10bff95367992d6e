//! The words of the world: what its channels are about and what people write below their videos.
//!
//! Comments are meant to be read: by people in the demo, by an inbox that sorts them, by a reader
//! that guesses language, mood and intent. So each list holds one intent, and a language is only
//! here when it has them all. `{topic}` becomes the video's topic.

/// What a channel is about.
pub(crate) struct Niche {
    pub(crate) channel: &'static str,
    pub(crate) handle: &'static str,
    pub(crate) category_id: &'static str,
    pub(crate) about: &'static str,
    pub(crate) titles: &'static [&'static str],
    pub(crate) topics: &'static [&'static str],
    pub(crate) tags: &'static [&'static str],
}

pub(crate) const NICHES: &[Niche] = &[
    Niche {
        channel: "Crumb & Crust",
        handle: "crumbandcrust",
        category_id: "26",
        about: "Slow bread and quick dinners from a small kitchen. New recipes twice a week.",
        titles: &[
            "How to make {topic} at home",
            "{topic}: the mistake everybody makes",
            "I tried {topic} every day for a month",
            "The only {topic} recipe you need",
            "Beginner's guide to {topic}",
            "{topic} in under a minute",
        ],
        topics: &[
            "sourdough bread",
            "fresh pasta",
            "focaccia",
            "ramen broth",
            "croissants",
            "pizza dough",
            "pickled vegetables",
            "cheesecake",
            "dumplings",
            "roast chicken",
            "chocolate mousse",
            "flatbread",
        ],
        tags: &["cooking", "recipe", "baking", "homemade", "kitchen", "food", "easy recipe"],
    },
    Niche {
        channel: "Offcut Workshop",
        handle: "offcutworkshop",
        category_id: "26",
        about: "Furniture from leftover wood, with hand tools where they are better and machines where they are not.",
        titles: &[
            "Building a {topic} from offcuts",
            "{topic} without power tools",
            "Why my {topic} cracked, and how I fixed it",
            "A weekend {topic} anyone can build",
            "{topic}: plans and cut list",
            "{topic}, start to finish",
        ],
        topics: &[
            "workbench",
            "bookshelf",
            "dovetail box",
            "dining table",
            "hand plane",
            "tool wall",
            "rocking chair",
            "picture frame",
            "bed frame",
            "cutting board",
            "mallet",
            "stool",
        ],
        tags: &["woodworking", "diy", "workshop", "furniture", "handtools", "maker"],
    },
    Niche {
        channel: "Light Pack",
        handle: "lightpack",
        category_id: "19",
        about: "Long walks with a small bag: routes, gear and budgets from the road.",
        titles: &[
            "What I packed for {topic}",
            "{topic} on 30 euros a day",
            "The truth about {topic}",
            "{topic}: everything that went wrong",
            "Seven days of {topic}",
            "{topic} in sixty seconds",
        ],
        topics: &[
            "walking the coast path",
            "a winter hut tour",
            "night trains",
            "the island ferry loop",
            "camping in the rain",
            "crossing the high pass",
            "cycling to the sea",
            "hitchhiking north",
            "solo desert hiking",
            "canoeing the lakes",
        ],
        tags: &["travel", "hiking", "ultralight", "backpacking", "gear", "budget travel"],
    },
    Niche {
        channel: "Second Keyboard",
        handle: "secondkeyboard",
        category_id: "28",
        about: "Programming explained slowly, with the errors left in.",
        titles: &[
            "{topic} explained with a whiteboard",
            "I rewrote it with {topic}",
            "Stop fearing {topic}",
            "{topic}: five things I wish I knew",
            "Debugging {topic} live",
            "{topic} in one minute",
        ],
        topics: &[
            "async Rust",
            "SQL indexes",
            "mechanical keyboards",
            "the borrow checker",
            "unit tests",
            "regular expressions",
            "self-hosting",
            "terminal editors",
            "message queues",
            "type inference",
        ],
        tags: &["programming", "software", "tutorial", "coding", "linux", "developer"],
    },
];

/// What a comment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    Praise,
    Question,
    Complaint,
    Request,
    Chatter,
    Spam,
    Collaboration,
}

/// How often each intent is met among 100 comments that open a thread.
pub(crate) const INTENTS: &[(Intent, u64)] = &[
    (Intent::Praise, 41),
    (Intent::Question, 18),
    (Intent::Complaint, 10),
    (Intent::Request, 9),
    (Intent::Chatter, 14),
    (Intent::Spam, 5),
    (Intent::Collaboration, 3),
];

/// The words of one language.
pub(crate) struct Tongue {
    /// How often it is met among 100 comments.
    pub(crate) share: u64,
    pub(crate) praise: &'static [&'static str],
    pub(crate) questions: &'static [&'static str],
    pub(crate) complaints: &'static [&'static str],
    pub(crate) requests: &'static [&'static str],
    pub(crate) chatter: &'static [&'static str],
    pub(crate) spam: &'static [&'static str],
    pub(crate) collaborations: &'static [&'static str],
    pub(crate) replies: &'static [&'static str],
    pub(crate) owner_replies: &'static [&'static str],
}

impl Tongue {
    /// Returns what is said with this intent.
    pub(crate) fn of(&self, intent: Intent) -> &'static [&'static str] {
        match intent {
            Intent::Praise => self.praise,
            Intent::Question => self.questions,
            Intent::Complaint => self.complaints,
            Intent::Request => self.requests,
            Intent::Chatter => self.chatter,
            Intent::Spam => self.spam,
            Intent::Collaboration => self.collaborations,
        }
    }
}

/// What may follow a friendly English sentence, so that few comments are equal.
pub(crate) const TAILS: &[&str] = &[
    "",
    "",
    "",
    " 🔥",
    " ❤️❤️",
    " 😂",
    " Greetings from Lisbon!",
    " Watching this at 2am.",
    " Third time I watch it.",
    " Been here since 10k subs.",
    " No skips, as always.",
    "\nAlso, the new intro is lovely.",
];

pub(crate) const TONGUES: &[Tongue] = &[
    Tongue {
        share: 70,
        praise: &[
            "This is the best video about {topic} I have ever seen!",
            "I finally understand {topic}, thank you so much",
            "Your calm way of explaining {topic} is amazing.",
            "Tried this yesterday and it worked perfectly, my family loved it",
            "Underrated channel. The editing is gorgeous.",
            "Subscribed after two minutes. Great work!",
            "You just saved my weekend, brilliant explanation",
            "The part at 3:42 is pure gold",
            "Honestly the most helpful tutorial on {topic} out there",
            "I don't even care about {topic} & I watched it to the end",
        ],
        questions: &[
            "What camera do you use? The picture looks so good",
            "Does this also work for beginners, or should I start with something easier than {topic}?",
            "How long did {topic} take you in total?",
            "Where can I buy the thing you show at 4:10?",
            "Can you explain why you skipped the second step?",
            "Is there a written version of this? I can't find the link in the description",
            "Which one would you recommend for a small budget?",
            "What's the name of the song in the background?",
            "Would this work in a humid climate too?",
        ],
        complaints: &[
            "The audio is way too quiet, I had to turn it up to the maximum",
            "Clickbait title. You barely talk about {topic}.",
            "Too many ads, I stopped after the third one",
            "I followed every step and it failed completely. Very disappointed.",
            "The link in the description is broken, please fix it",
            "You said \"five minutes\" and it took me two hours…",
            "Used to be a good channel, now it's only sponsors",
            "Wrong. This is not how {topic} works at all, terrible advice.",
        ],
        requests: &[
            "Please make a follow-up about {topic}!",
            "Could you do a video on the tools you use?",
            "Part 2 please 🙏",
            "Would love to see you do this with a tiny budget",
            "Can you add subtitles? My mother wants to watch it as well",
            "Please slow down a little, I can't keep up with {topic}",
        ],
        chatter: &[
            "first",
            "Who else is watching this instead of working?",
            "My cat watched the whole thing with me",
            "Here before 1k views",
            "My grandfather used to do {topic} just like that",
            "lol that face at 1:17",
            "The algorithm brought me here and I'm not leaving",
            "Anyone in 2026?",
        ],
        spam: &[
            "I earn $4,500 a week from home, ask me how 👉 https://quick-cash.example/join",
            "🔥🔥 FREE GIFT CARDS 🔥🔥 visit https://free-cards.example now!!!",
            "Invest with Mrs. Harriet on telegram, she changed my life, +1000% in 3 days",
            "CONGRATULATIONS you are our winner, text me on the number above to claim your prize",
            "check my channel for the real {topic} sub4sub sub4sub",
        ],
        collaborations: &[
            "Hi! I run marketing at Northlight Tools and we would love to sponsor a video. How can we reach you?",
            "Hey, fellow creator here (80k). Would you be up for a collab on {topic}?",
            "We are looking for partners for our spring campaign, paid. Is there a business contact?",
            "Our podcast would be honoured to have you as a guest, can we talk?",
        ],
        replies: &[
            "Same here!",
            "I was about to ask exactly this",
            "It's in the description, third link",
            "No, I don't think so. Try it at a lower temperature first",
            "lol true",
            "Thanks, that helped me as well",
            "This did not work for me either",
            "Agreed 100%",
            "You can do it, just take your time",
            "Wow, didn't know that",
            "@mia.k I had the same problem, a second try fixed it",
        ],
        owner_replies: &[
            "Thank you so much, that means a lot to me!",
            "Good question! I use the same one as in my last video, the link is below.",
            "Sorry about that, I'll fix the link today.",
            "Great idea, I'll put it on the list ❤️",
            "Part 2 comes next week!",
        ],
    },
    Tongue {
        share: 8,
        praise: &[
            "¡Qué vídeo tan bueno! Muchas gracias por explicarlo tan bien",
            "Me encanta tu canal, siempre aprendo algo nuevo",
            "Lo probé ayer y salió perfecto, gracias",
        ],
        questions: &[
            "¿Qué cámara usas para grabar?",
            "¿Dónde puedo comprar lo que enseñas en el minuto 4?",
            "¿Cuánto tiempo se tarda en total?",
        ],
        complaints: &[
            "El audio se oye muy bajo, no se entiende nada",
            "Demasiada publicidad, así no se puede ver el vídeo",
        ],
        requests: &["¿Puedes poner subtítulos en español, por favor?", "Haz una segunda parte, por favor"],
        chatter: &["¿Alguien más viendo esto de madrugada?", "Saludos desde Argentina"],
        spam: &[
            "Gana dinero desde casa 👉 https://dinero-facil.example",
            "Sorteo GRATIS, escribe al número de arriba",
        ],
        collaborations: &[
            "Hola, somos una marca española y nos gustaría colaborar contigo, ¿tienes un correo de contacto?",
        ],
        replies: &["Totalmente de acuerdo", "A mí me pasó lo mismo", "Gracias por la respuesta"],
        owner_replies: &["¡Muchas gracias!", "¡Buena idea, lo apunto!"],
    },
    Tongue {
        share: 5,
        praise: &[
            "Richtig gutes Video, endlich verstehe ich das!",
            "Vielen Dank, das hat mir sehr geholfen",
            "Wie immer super erklärt, weiter so",
        ],
        questions: &[
            "Welches Mikrofon benutzt du?",
            "Funktioniert das auch für Anfänger?",
            "Wo kann man das kaufen?",
        ],
        complaints: &[
            "Der Ton ist viel zu leise, man versteht kaum etwas",
            "Leider hat es bei mir überhaupt nicht funktioniert, sehr enttäuschend",
        ],
        requests: &[
            "Bitte mach noch einen zweiten Teil!",
            "Kannst du das auch mit einfachen Werkzeugen zeigen?",
        ],
        chatter: &["Grüße aus Hamburg", "Wer schaut das auch statt zu arbeiten?"],
        spam: &[
            "Verdiene 3000 € pro Woche von zu Hause: https://schnelles-geld.example",
            "Jetzt kostenlos gewinnen, Link in meinem Profil",
        ],
        collaborations: &[
            "Hallo, wir sind ein kleiner Hersteller und würden gern ein Video sponsern. Wie erreichen wir dich?",
        ],
        replies: &["Geht mir genauso", "Steht in der Beschreibung", "Danke für den Tipp!"],
        owner_replies: &["Vielen Dank!", "Gute Frage, dazu kommt bald ein Video."],
    },
    Tongue {
        share: 5,
        praise: &[
            "Merci beaucoup, c'est vraiment très bien expliqué !",
            "Quelle belle vidéo, j'adore cette chaîne",
            "J'ai essayé hier et c'était parfait",
        ],
        questions: &[
            "Quelle caméra utilises-tu ?",
            "Est-ce que ça marche aussi pour les débutants ?",
            "Combien de temps faut-il au total ?",
        ],
        complaints: &["Le son est beaucoup trop faible", "Trop de publicités, j'ai arrêté de regarder"],
        requests: &[
            "Une deuxième partie, s'il te plaît !",
            "Tu pourrais ajouter des sous-titres en français ?",
        ],
        chatter: &["Bonjour de Lyon", "Qui d'autre regarde ça au travail ?"],
        spam: &[
            "Gagnez 2000 € par semaine : https://argent-facile.example",
            "Cadeau gratuit, cliquez sur mon profil",
        ],
        collaborations: &["Bonjour, notre marque aimerait sponsoriser une vidéo, comment vous contacter ?"],
        replies: &["Tout à fait d'accord", "Moi aussi", "Merci pour la réponse"],
        owner_replies: &["Merci beaucoup !", "Bonne idée, je le note."],
    },
    Tongue {
        share: 5,
        praise: &[
            "Que vídeo maravilhoso, muito obrigado!",
            "Melhor canal sobre o assunto, parabéns",
            "Fiz ontem e deu certo, minha família amou",
        ],
        questions: &["Qual câmera você usa?", "Onde eu compro isso?", "Funciona para iniciantes também?"],
        complaints: &["O áudio está muito baixo", "Muita propaganda, não dá para assistir assim"],
        requests: &["Faz a parte 2, por favor!", "Você pode colocar legendas?"],
        chatter: &["Abraço do Brasil", "Alguém mais assistindo de madrugada?"],
        spam: &[
            "Ganhe dinheiro em casa: https://renda-extra.example",
            "Sorteio grátis, chama no número acima",
        ],
        collaborations: &["Olá, somos uma marca e queremos patrocinar um vídeo seu, qual é o contato?"],
        replies: &["Concordo", "Comigo foi igual", "Obrigado pela dica"],
        owner_replies: &["Muito obrigado!", "Boa ideia, vou anotar."],
    },
    Tongue {
        share: 3,
        praise: &["Bellissimo video, complimenti!", "Grazie mille, spiegato benissimo"],
        questions: &["Che microfono usi?", "Quanto tempo ci vuole in tutto?"],
        complaints: &["L'audio è troppo basso, non si capisce niente", "Troppa pubblicità"],
        requests: &["Fai una seconda parte per favore!", "Puoi mettere i sottotitoli?"],
        chatter: &["Saluti da Torino", "Chi altro lo guarda di notte?"],
        spam: &["Guadagna 3000 € al mese da casa: https://soldi-facili.example"],
        collaborations: &["Ciao, vorremmo sponsorizzare un tuo video, come possiamo contattarti?"],
        replies: &["Anche a me", "Sono d'accordo"],
        owner_replies: &["Grazie mille!"],
    },
    Tongue {
        share: 2,
        praise: &["とても分かりやすい動画でした、ありがとうございます！", "編集が本当に素晴らしいです"],
        questions: &["どのカメラを使っていますか？", "初心者でもできますか？"],
        complaints: &["音が小さすぎて聞こえません", "広告が多すぎて残念です"],
        requests: &["続編をお願いします！", "日本語の字幕を付けてください"],
        chatter: &["日本から見ています", "夜中に見てお腹が空いた"],
        spam: &["在宅で簡単に稼げます → https://okane.example"],
        collaborations: &["はじめまして、動画のスポンサーになりたいのですが、連絡先を教えてください"],
        replies: &["私もです", "ありがとうございます"],
        owner_replies: &["ありがとうございます！"],
    },
    Tongue {
        share: 2,
        praise: &["बहुत बढ़िया वीडियो, धन्यवाद!", "आप बहुत अच्छे से समझाते हैं"],
        questions: &["आप कौन सा कैमरा इस्तेमाल करते हैं?", "क्या यह शुरुआती लोगों के लिए भी है?"],
        complaints: &["आवाज़ बहुत धीमी है", "बहुत ज़्यादा विज्ञापन हैं"],
        requests: &["कृपया दूसरा भाग बनाइए", "हिंदी सबटाइटल जोड़ दीजिए"],
        chatter: &["भारत से नमस्ते", "और कौन रात में देख रहा है?"],
        spam: &["घर बैठे पैसे कमाएँ: https://paisa.example"],
        collaborations: &["नमस्ते, हम आपके साथ काम करना चाहते हैं, संपर्क कैसे करें?"],
        replies: &["सही कहा", "मेरे साथ भी ऐसा हुआ"],
        owner_replies: &["बहुत धन्यवाद!"],
    },
];

/// First halves of handles.
pub(crate) const NAMES: &[&str] = &[
    "mia", "lucas", "ana", "jonas", "priya", "kenji", "sofia", "omar", "lea", "tomas", "grace", "noah",
    "ines", "viktor", "amara", "felix", "yuki", "diego", "hanna", "samir", "chloe", "marco", "zoe", "ravi",
];

/// Second halves of handles.
pub(crate) const SURNAMES: &[&str] = &[
    "bakes", "hikes", "reads", "writes", "k", "builds", "codes", "park", "moss", "fox", "river", "stone",
    "lens", "loops", "tunes", "fields", "north", "west", "oak", "sky",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_per_cent_and_no_list_is_empty() {
        assert_eq!(TONGUES.iter().map(|tongue| tongue.share).sum::<u64>(), 100);
        assert_eq!(INTENTS.iter().map(|(_, share)| share).sum::<u64>(), 100);
        for tongue in TONGUES {
            assert!(INTENTS.iter().all(|&(intent, _)| !tongue.of(intent).is_empty()));
            assert!(!tongue.replies.is_empty() && !tongue.owner_replies.is_empty());
        }
    }
}
