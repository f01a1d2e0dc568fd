//! Numbers and text as they are written into an XML document.

use std::fmt::{self, Write as _};

/// A coordinate with at most one digit after the point.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number(pub(super) f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0 * 10.0).round();
        // Adding zero turns a negative zero into a plain one.
        let value = tenths / 10.0 + 0.0;
        write!(f, "{value}")
    }
}

/// Text for the inside of an element or an attribute. It has been cleaned before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Xml<'a>(pub(super) &'a str);

impl fmt::Display for Xml<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_escaped() {
        assert_eq!(Xml("<b a='1' c=\"2\">&amp;").to_string(), "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;amp;");
    }

    #[test]
    fn numbers_are_short() {
        let table = [(0.0, "0"), (-0.01, "0"), (1.0, "1"), (1.25, "1.3"), (-2.04, "-2"), (12345.678, "12345.7")];
        for (value, want) in table {
            assert_eq!(Number(value).to_string(), want);
        }
    }
}
