//! Text with code in it, taken apart.

/// A piece of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Plain(&'a str),
    Code(&'a str),
}

/// Takes text apart at its backticks; one without a partner means itself.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('`') {
        let Some((code, behind)) = after.split_once('`') else { break };
        pieces.extend([Piece::Plain(before), Piece::Code(code)]);
        rest = behind;
    }
    pieces.push(Piece::Plain(rest));
    pieces.retain(|piece| !matches!(piece, Piece::Plain("") | Piece::Code("")));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_between_two_backticks() {
        assert_eq!(pieces("run `ls` now"), [Piece::Plain("run "), Piece::Code("ls"), Piece::Plain(" now")]);
        assert_eq!(pieces("`ls`"), [Piece::Code("ls")]);
        assert_eq!(pieces("a ` b"), [Piece::Plain("a ` b")]);
        assert_eq!(pieces("a``b"), [Piece::Plain("a"), Piece::Plain("b")]);
        assert_eq!(pieces(""), []);
    }
}
