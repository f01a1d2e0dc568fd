//! Colours a definition may ask for, read strictly.
//!
//! A colour is text written by a user and ends up inside attributes. Only its three numbers are
//! kept, so nothing else of it can reach a document.

use std::fmt;

/// An opaque colour. Shown as `#rrggbb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Color {
    red: u8,
    green: u8,
    blue: u8,
}

impl Color {
    /// Reads `#rgb`, `#rgba`, `#rrggbb`, `#rrggbbaa` or a CSS colour name, in any case.
    ///
    /// A translucent colour is given as it looks on white. Anything else is no colour.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        match text.strip_prefix('#') {
            Some(digits) => Self::from_digits(digits),
            None => Self::from_name(text),
        }
    }

    /// Reads the digits after `#`.
    fn from_digits(digits: &str) -> Option<Self> {
        let values: Option<Vec<u32>> = digits.chars().map(|c| c.to_digit(16)).collect();
        let values = values?;
        let bytes: Vec<u32> = match values.len() {
            3 | 4 => values.iter().map(|digit| digit * 17).collect(),
            6 | 8 => values.chunks(2).map(|pair| pair.iter().fold(0, |sum, digit| sum * 16 + digit)).collect(),
            _ => return None,
        };
        let mut bytes = bytes.into_iter();
        let (red, green, blue) = (bytes.next()?, bytes.next()?, bytes.next()?);
        let alpha = bytes.next().unwrap_or(255);
        let on_white = |part: u32| u8::try_from((part * alpha + 255 * (255 - alpha)) / 255).ok();
        Some(Self { red: on_white(red)?, green: on_white(green)?, blue: on_white(blue)? })
    }

    /// Looks a name up.
    fn from_name(name: &str) -> Option<Self> {
        let mut words = NAMES.split_whitespace();
        while let (Some(known), Some(digits)) = (words.next(), words.next()) {
            if known.eq_ignore_ascii_case(name) {
                return Self::from_digits(digits);
            }
        }
        None
    }

    /// Black or white, whichever reads better on this colour.
    pub(super) fn ink(self) -> &'static str {
        let part = |value: u8| {
            let share = f64::from(value) / 255.0;
            if share <= 0.040_45 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
        };
        // Relative luminance and contrast as in WCAG 2.2; 0.179 is where both inks contrast alike.
        let luminance = 0.2126 * part(self.red) + 0.7152 * part(self.green) + 0.0722 * part(self.blue);
        if luminance > 0.179 { "#0f172a" } else { "#ffffff" }
    }

    /// A darker shade, for the border of an area in this colour.
    pub(super) fn shade(self) -> Self {
        let darker = |value: u8| value / 3 * 2;
        Self { red: darker(self.red), green: darker(self.green), blue: darker(self.blue) }
    }
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:02x}{:02x}{:02x}", self.red, self.green, self.blue)
    }
}

/// The named colours of CSS Color Module Level 4, section 6.1, each with its digits.
const NAMES: &str = "
aliceblue f0f8ff antiquewhite faebd7 aqua 00ffff aquamarine 7fffd4 azure f0ffff beige f5f5dc bisque ffe4c4
black 000000 blanchedalmond ffebcd blue 0000ff blueviolet 8a2be2 brown a52a2a burlywood deb887 cadetblue 5f9ea0
chartreuse 7fff00 chocolate d2691e coral ff7f50 cornflowerblue 6495ed cornsilk fff8dc crimson dc143c cyan 00ffff
darkblue 00008b darkcyan 008b8b darkgoldenrod b8860b darkgray a9a9a9 darkgreen 006400 darkgrey a9a9a9
darkkhaki bdb76b darkmagenta 8b008b darkolivegreen 556b2f darkorange ff8c00 darkorchid 9932cc darkred 8b0000
darksalmon e9967a darkseagreen 8fbc8f darkslateblue 483d8b darkslategray 2f4f4f darkslategrey 2f4f4f
darkturquoise 00ced1 darkviolet 9400d3 deeppink ff1493 deepskyblue 00bfff dimgray 696969 dimgrey 696969
dodgerblue 1e90ff firebrick b22222 floralwhite fffaf0 forestgreen 228b22 fuchsia ff00ff gainsboro dcdcdc
ghostwhite f8f8ff gold ffd700 goldenrod daa520 gray 808080 green 008000 greenyellow adff2f grey 808080
honeydew f0fff0 hotpink ff69b4 indianred cd5c5c indigo 4b0082 ivory fffff0 khaki f0e68c lavender e6e6fa
lavenderblush fff0f5 lawngreen 7cfc00 lemonchiffon fffacd lightblue add8e6 lightcoral f08080 lightcyan e0ffff
lightgoldenrodyellow fafad2 lightgray d3d3d3 lightgreen 90ee90 lightgrey d3d3d3 lightpink ffb6c1
lightsalmon ffa07a lightseagreen 20b2aa lightskyblue 87cefa lightslategray 778899 lightslategrey 778899
lightsteelblue b0c4de lightyellow ffffe0 lime 00ff00 limegreen 32cd32 linen faf0e6 magenta ff00ff maroon 800000
mediumaquamarine 66cdaa mediumblue 0000cd mediumorchid ba55d3 mediumpurple 9370db mediumseagreen 3cb371
mediumslateblue 7b68ee mediumspringgreen 00fa9a mediumturquoise 48d1cc mediumvioletred c71585 midnightblue 191970
mintcream f5fffa mistyrose ffe4e1 moccasin ffe4b5 navajowhite ffdead navy 000080 oldlace fdf5e6 olive 808000
olivedrab 6b8e23 orange ffa500 orangered ff4500 orchid da70d6 palegoldenrod eee8aa palegreen 98fb98
paleturquoise afeeee palevioletred db7093 papayawhip ffefd5 peachpuff ffdab9 peru cd853f pink ffc0cb plum dda0dd
powderblue b0e0e6 purple 800080 rebeccapurple 663399 red ff0000 rosybrown bc8f8f royalblue 4169e1
saddlebrown 8b4513 salmon fa8072 sandybrown f4a460 seagreen 2e8b57 seashell fff5ee sienna a0522d silver c0c0c0
skyblue 87ceeb slateblue 6a5acd slategray 708090 slategrey 708090 snow fffafa springgreen 00ff7f steelblue 4682b4
tan d2b48c teal 008080 thistle d8bfd8 tomato ff6347 turquoise 40e0d0 violet ee82ee wheat f5deb3 white ffffff
whitesmoke f5f5f5 yellow ffff00 yellowgreen 9acd32
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hex_and_named_colours_are_read() {
        let table = [
            ("#abc", Some("#aabbcc")),
            ("#AbC", Some("#aabbcc")),
            ("#12345f", Some("#12345f")),
            ("#ff000080", Some("#ff7f7f")),
            ("#0000", Some("#ffffff")),
            (" Tomato ", Some("#ff6347")),
            ("rebeccapurple", Some("#663399")),
            ("", None),
            ("#", None),
            ("#12", None),
            ("#12345", None),
            ("#ggg", None),
            ("#+12345", None),
            ("ff6347", None),
            ("red\"/><script>", None),
            ("url(#x)", None),
            ("#fff;stroke:red", None),
            ("réd", None),
        ];
        for (text, want) in table {
            assert_eq!(Color::parse(text).map(|c| c.to_string()).as_deref(), want, "{text:?}");
        }
    }

    #[test]
    fn the_list_of_names_is_whole() {
        let words: Vec<&str> = NAMES.split_whitespace().collect();
        assert_eq!(words.len(), 148 * 2);
        assert!(words.chunks(2).all(|pair| Color::parse(pair[0]).is_some()));
    }

    #[test]
    fn ink_contrasts_with_the_fill() {
        assert_eq!(Color::parse("yellow").map(Color::ink), Some("#0f172a"));
        assert_eq!(Color::parse("navy").map(Color::ink), Some("#ffffff"));
    }
}
