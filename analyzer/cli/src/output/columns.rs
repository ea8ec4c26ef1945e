//! Chooses the columns that fit the terminal, and cuts text to their widths.

use unicode_width::UnicodeWidthChar;

/// Widths of the columns that can shrink; 0 omits the column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) pid: usize,
    pub(super) comm: usize,
    pub(super) url: usize,
    pub(super) content_type: usize,
    pub(super) size: usize,
}

/// Width of the columns that are always present, with the blanks between them: time, method, status
/// and duration.
const FIXED: usize = 12 + 1 + 7 + 1 + 4 + 1 + 7;

/// Widths for output that is not cut.
const FULL: Columns = Columns { pid: 8, comm: 15, url: 48, content_type: 16, size: 6 };

/// Layouts for ever narrower terminals. Each comes with the width of the URL that has to fit before
/// the next layout is tried.
const LAYOUTS: [(Columns, usize); 6] = [
    (FULL, 28),
    (Columns { content_type: 10, ..FULL }, 24),
    (Columns { content_type: 0, ..FULL }, 24),
    (Columns { content_type: 0, comm: 8, ..FULL }, 20),
    (Columns { content_type: 0, comm: 0, ..FULL }, 16),
    (Columns { content_type: 0, comm: 0, pid: 0, size: 0, ..FULL }, 8),
];

impl Columns {
    /// Returns the widths that fit so many columns of a terminal; `None` is no limit. Below 42
    /// columns, lines are wider than the terminal.
    pub(super) fn fitting(width: Option<usize>) -> Self {
        let Some(width) = width else { return FULL };
        let fitting = LAYOUTS.iter().find_map(|(layout, least)| {
            let url = width.checked_sub(layout.without_url())?;
            (url >= *least).then_some(Self { url, ..*layout })
        });
        let (narrowest, least) = LAYOUTS[LAYOUTS.len() - 1];
        fitting.unwrap_or(Self { url: least, ..narrowest })
    }

    /// Returns the width of everything but the URL; each column has a blank beside it.
    fn without_url(self) -> usize {
        let given = [self.pid, self.comm, self.content_type, self.size];
        FIXED
            + 1
            + given.into_iter().filter(|&width| width > 0).map(|width| width + 1).sum::<usize>()
    }
}

/// Returns how many columns of a terminal a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

fn char_width(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// Cuts a text to so many columns, and marks the cut.
pub(crate) fn cut(text: &mut String, columns: usize) {
    if width(text) <= columns {
        return;
    }
    let mut taken = 0;
    let end = text.char_indices().find_map(|(at, c)| {
        taken += char_width(c);
        // The mark takes a column.
        (taken + 1 > columns).then_some(at)
    });
    text.truncate(end.unwrap_or(text.len()));
    if columns > 0 {
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fill_the_terminal_and_go_in_order() {
        let mut before = Columns::fitting(Some(42));
        for width in 42..300 {
            let columns = Columns::fitting(Some(width));
            assert_eq!(columns.without_url() + columns.url, width);
            for (narrow, wide) in [
                (before.pid, columns.pid),
                (before.comm, columns.comm),
                (before.content_type, columns.content_type),
            ] {
                assert!(narrow <= wide, "{width}");
            }
            before = columns;
        }
        assert_eq!(Columns::fitting(Some(80)).comm, 8);
        assert_eq!(Columns::fitting(Some(200)).content_type, 16);
        assert_eq!(Columns::fitting(None), FULL);
        assert_eq!(Columns::fitting(Some(3)).url, 8);
    }

    #[test]
    fn cut_text_fits_its_columns() {
        for (text, columns, shown) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("abcd", 1, "…"),
            ("abcd", 0, ""),
            ("日本語", 6, "日本語"),
            ("日本語", 5, "日本…"),
            ("日本語", 4, "日…"),
            // A combining accent takes no column and stays with its letter.
            ("e\u{301}e\u{301}", 2, "e\u{301}e\u{301}"),
            ("e\u{301}bc", 2, "e\u{301}…"),
        ] {
            let mut text = text.to_owned();
            cut(&mut text, columns);
            assert_eq!(text, shown);
            assert!(width(&text) <= columns);
        }
    }
}
