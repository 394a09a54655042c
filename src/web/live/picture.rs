//! Words as a picture, for mail programs that load no HTML. In: a few words, and some that are struck out. Out: a PNG, twice as large as it is
//! shown, dark on a light ground that looks the same in the light and in the dark. Cannot fail: a letter that the font lacks is its box.

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};

/// The letters: DejaVu Sans Bold, of Latin, Greek and Cyrillic script, and the signs of currencies.
const FONT: &[u8] = include_bytes!("DejaVuSans-Bold.ttf");

const HEIGHT: u32 = 56;
const LETTERS: f32 = 34.0;
const MARGIN: f32 = 18.0;
const GAP: f32 = 14.0;
const CORNER: f32 = 14.0;
const STROKE: u32 = 3;

/// The widest picture; what is wider is cut.
const WIDTH_MAX: u32 = 1_200;

const GROUND: [u8; 3] = [0xff, 0xf4, 0xe0];
const INK: [u8; 3] = [0x7a, 0x3d, 0x00];
const STRUCK: [u8; 3] = [0x8a, 0x7f, 0x70];

/// Draws the words, those that are struck out before them.
pub fn draw(text: &str, struck: Option<&str>) -> Vec<u8> {
    let Ok(font) = FontRef::try_from_slice(FONT) else { return Vec::new() };
    let (mut x, mut pieces) = (MARGIN, Vec::new());
    for (words, ink, is_struck) in struck.map(|it| (it, STRUCK, true)).into_iter().chain([(text, INK, false)]) {
        let (glyphs, end) = lay(&font, words, x);
        pieces.push((glyphs, ink, is_struck.then_some((x, end))));
        x = end + GAP;
    }
    let mut picture = Picture::new(((x - GAP + MARGIN).ceil() as u32).clamp(HEIGHT, WIDTH_MAX));
    for (glyphs, ink, line) in pieces {
        for outline in glyphs.into_iter().filter_map(|glyph| font.outline_glyph(glyph)) {
            let corner = outline.px_bounds().min;
            outline.draw(|dx, dy, share| {
                picture.ink(corner.x as i32 + dx as i32, corner.y as i32 + dy as i32, ink, share)
            });
        }
        if let Some((from, to)) = line {
            for dy in 0..STROKE {
                (from as i32..to as i32).for_each(|x| picture.ink(x, (HEIGHT / 2 + dy) as i32, ink, 1.0));
            }
        }
    }
    picture.png()
}

/// The letters of a line from `x` on, and where it ends.
fn lay(font: &FontRef<'_>, words: &str, mut x: f32) -> (Vec<Glyph>, f32) {
    let scaled = font.as_scaled(PxScale::from(LETTERS));
    let base = (HEIGHT as f32 - scaled.height()) / 2.0 + scaled.ascent();
    let mut glyphs = Vec::new();
    for letter in words.chars().filter(|letter| !letter.is_control()) {
        if x > WIDTH_MAX as f32 {
            break;
        }
        let mut glyph = scaled.scaled_glyph(letter);
        glyph.position = point(x, base);
        x += scaled.h_advance(glyph.id);
        glyphs.push(glyph);
    }
    (glyphs, x)
}

/// Pixels of red, green, blue and how much of them.
struct Picture {
    width: u32,
    pixels: Vec<u8>,
}

impl Picture {
    /// The ground, with round corners.
    fn new(width: u32) -> Picture {
        let mut pixels = Vec::with_capacity((width * HEIGHT * 4) as usize);
        for y in 0..HEIGHT {
            for x in 0..width {
                let beyond = |at: u32, length: u32| (CORNER - at.min(length - 1 - at) as f32 - 0.5).max(0.0);
                let covered = (CORNER - beyond(x, width).hypot(beyond(y, HEIGHT)) + 0.5).clamp(0.0, 1.0);
                pixels.extend(GROUND);
                pixels.push((covered * 255.0) as u8);
            }
        }
        Picture { width, pixels }
    }

    /// Lays ink over a pixel, if it is one of the picture.
    fn ink(&mut self, x: i32, y: i32, ink: [u8; 3], share: f32) {
        let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return };
        if x >= self.width || y >= HEIGHT {
            return;
        }
        let at = ((y * self.width + x) * 4) as usize;
        for (below, above) in self.pixels[at..at + 3].iter_mut().zip(ink) {
            *below = (f32::from(*below) * (1.0 - share) + f32::from(above) * share) as u8;
        }
    }

    fn png(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width, HEIGHT);
        encoder.set_color(png::ColorType::Rgba);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Fast);
        // Memory takes whatever is written to it.
        let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&self.pixels));
        if written.is_ok() { bytes } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> (u32, Vec<u8>) {
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((frame.height, frame.color_type), (HEIGHT, png::ColorType::Rgba));
        (frame.width, pixels)
    }

    #[test]
    fn words_are_ink_on_a_ground_and_more_of_them_are_wider() {
        let (short, pixels) = read(&draw("Only 2 left", None));
        let (long, _) = read(&draw("Only 2 left, and no more", None));
        assert!(HEIGHT < short && short < long, "{short} {long}");
        let inked = pixels.chunks(4).filter(|pixel| pixel[..3] == INK).count();
        assert!(inked > 500, "{inked}");
        assert_eq!(pixels[3], 0, "the corner is round");
        let (struck, pixels) = read(&draw("19,90 €", Some("24,90 €")));
        assert!(struck > short / 2 && pixels.chunks(4).any(|pixel| pixel[..3] == STRUCK));
    }

    #[test]
    fn no_words_are_too_odd_or_too_many() {
        for words in ["", "\u{0}\u{202e}", "日本", &"W".repeat(10_000)] {
            let (width, _) = read(&draw(words, Some(words)));
            assert!((HEIGHT..=WIDTH_MAX).contains(&width), "{width}");
        }
    }

    #[test]
    fn the_font_has_the_letters_of_every_language_that_is_spoken() {
        let font = FontRef::try_from_slice(FONT).unwrap();
        for letter in "Nur noch 2 Stück – Épuisé Agotado Esaurito Uitverkocht 0123456789.,'€$£¥złKč₹₩\u{a0}".chars()
        {
            assert_ne!(font.glyph_id(letter).0, 0, "{letter}");
        }
    }
}
