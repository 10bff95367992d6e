//! Thumbnails: which sizes there are depends on the video.

use crate::json::Object;

/// Writes the sizes of a video's thumbnail; any but the first three may be missing.
pub(crate) fn of_video(o: &mut Object<'_>, id: &str, index: u32, short: bool) {
    let sizes = [
        ("default", "default", 120, 90, true),
        ("medium", "mqdefault", 320, 180, true),
        ("high", "hqdefault", 480, 360, true),
        ("standard", "sddefault", 640, 480, !index.is_multiple_of(5)),
        ("maxres", "maxresdefault", 1_280, 720, !index.is_multiple_of(5)),
        ("fhd", "fhddefault", 1_920, 1_080, index % 10 == 2),
        ("qhd", "qhddefault", 2_560, 1_440, index % 10 == 2),
        ("uhd", "uhddefault", 3_840, 2_160, index % 20 == 2),
        ("shortsAspectRatio", "shorts", 720, 1_280, short),
    ];
    o.object("thumbnails", |o| {
        for (name, file, width, height, _) in sizes.into_iter().filter(|size| size.4) {
            sized(o, name, &format!("https://i.ytimg.com/vi/{id}/{file}.jpg"), width, height);
        }
    });
}

/// Writes the sizes of a channel's picture.
pub(crate) fn of_channel(o: &mut Object<'_>, id: &str) {
    o.object("thumbnails", |o| {
        for (name, size) in [("default", 88), ("medium", 240), ("high", 800)] {
            sized(o, name, &format!("https://yt3.ggpht.com/{id}=s{size}-c-k-c0x00ffffff-no-rj"), size, size);
        }
    });
}

fn sized(o: &mut Object<'_>, name: &str, url: &str, width: u64, height: u64) {
    o.object(name, |o| {
        o.text("url", url);
        o.number("width", width);
        o.number("height", height);
    });
}
