//! Mistakes in migration.toml: all of them together, each with its place, and how they are printed. What is a mistake is
//! the reader's business.

use std::{fmt, ops::Range, path::PathBuf};

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};

/// The stable codes of mistakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MistakeCode {
    /// The file cannot be opened or read.
    SpecUnreadable,
    /// The file is larger than a migration.toml can be.
    SpecTooLarge,
    /// The file is not plain UTF-8 text.
    SpecEncoding,
    /// The text is not TOML.
    SpecSyntax,
    /// A key or table stands there twice.
    SpecDuplicateKey,
    /// Nobody knows this key.
    SpecUnknownKey,
    /// A key that must be there is not.
    SpecMissingKey,
    /// A number where text belongs, or the like.
    SpecType,
    /// A bare number where a duration, size or rate belongs.
    SpecNoUnit,
    /// The value is not of the form that the key takes.
    SpecValue,
    /// The value is too small or too large.
    SpecRange,
    /// Two values do not go together.
    SpecConflict,
    /// The part of flytt that this value needs is not built yet.
    SpecNotBuilt,
}

impl MistakeCode {
    pub const ALL: [Self; 13] = [
        Self::SpecUnreadable,
        Self::SpecTooLarge,
        Self::SpecEncoding,
        Self::SpecSyntax,
        Self::SpecDuplicateKey,
        Self::SpecUnknownKey,
        Self::SpecMissingKey,
        Self::SpecType,
        Self::SpecNoUnit,
        Self::SpecValue,
        Self::SpecRange,
        Self::SpecConflict,
        Self::SpecNotBuilt,
    ];

    /// As it is printed and documented: `SPEC_UNKNOWN_KEY`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SpecUnreadable => "SPEC_UNREADABLE",
            Self::SpecTooLarge => "SPEC_TOO_LARGE",
            Self::SpecEncoding => "SPEC_ENCODING",
            Self::SpecSyntax => "SPEC_SYNTAX",
            Self::SpecDuplicateKey => "SPEC_DUPLICATE_KEY",
            Self::SpecUnknownKey => "SPEC_UNKNOWN_KEY",
            Self::SpecMissingKey => "SPEC_MISSING_KEY",
            Self::SpecType => "SPEC_TYPE",
            Self::SpecNoUnit => "SPEC_NO_UNIT",
            Self::SpecValue => "SPEC_VALUE",
            Self::SpecRange => "SPEC_RANGE",
            Self::SpecConflict => "SPEC_CONFLICT",
            Self::SpecNotBuilt => "SPEC_NOT_BUILT",
        }
    }
}

impl fmt::Display for MistakeCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One mistake. Line and column count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Mistake {
    pub code: MistakeCode,
    pub line: usize,
    pub column: usize,
    pub sentence: String,
    pub hint: String,
    #[serde(skip)]
    span: Range<usize>,
}

/// Everything wrong with one file, in the order of its lines. Never empty when it is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes {
    path: PathBuf,
    text: String,
    list: Vec<Mistake>,
    /// How many more than [`MOST`] were found.
    more: usize,
    /// Values that may be a secret in the wrong place: a line is shown without them.
    hidden: Vec<Range<usize>>,
}

/// What nobody reads to the end need not be kept; a file of nothing but mistakes stays cheap.
const MOST: usize = 100;

/// A longer line, in bytes, is named but not shown.
const LONGEST: usize = 1000;

impl Mistakes {
    pub(super) fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into(), list: Vec::new(), more: 0, hidden: Vec::new() }
    }

    /// A file of which nothing can be shown.
    pub(super) fn of_file(path: impl Into<PathBuf>, code: MistakeCode, sentence: String, hint: &str) -> Self {
        let mut mistakes = Self::new(path, "");
        mistakes.push(code, 0..0, sentence, hint);
        mistakes
    }

    pub(super) fn push(&mut self, code: MistakeCode, span: Range<usize>, sentence: impl Into<String>, hint: impl Into<String>) {
        if self.list.len() == MOST {
            self.more += 1;
            return;
        }
        let before = &self.text[..self.boundary(span.start)];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |text| text.chars().count()) + 1;
        self.list.push(Mistake { code, line, column, sentence: sentence.into(), hint: hint.into(), span });
    }

    /// Spans come from the parser and fall between characters; this holds even if one does not.
    fn boundary(&self, at: usize) -> usize {
        let at = at.min(self.text.len());
        (0..=at).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0)
    }

    pub(super) fn hide(&mut self, span: Range<usize>) {
        self.hidden.push(span);
    }

    /// A piece of the text as it may be shown; as many characters as it has.
    fn shown(&self, piece: Range<usize>) -> String {
        let near: Vec<_> = self.hidden.iter().filter(|span| span.start < piece.end && span.end > piece.start).collect();
        let hidden = |at: usize| near.iter().any(|span| span.contains(&at));
        let characters = self.text[piece.clone()].char_indices();
        characters.map(|(at, c)| if hidden(piece.start + at) { '*' } else { c }).collect()
    }

    pub(super) fn retain(&mut self, keep: impl FnMut(&Mistake) -> bool) {
        self.list.retain(keep);
    }

    pub(super) fn sort(&mut self) {
        self.list.sort_by_key(|mistake| (mistake.span.start, mistake.span.end));
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Mistake> {
        self.list.iter()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The file as the operator named it.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    fn render(&self, mistake: &Mistake, path: &str) -> String {
        let title = Level::ERROR.primary_title(&mistake.sentence).id(mistake.code.as_str());
        let help = Level::HELP.message(&mistake.hint);
        // The mistake's first line alone: a caret spans no lines.
        let start = self.boundary(mistake.span.start);
        let from = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let to = self.text[start..].find('\n').map_or(self.text.len(), |at| start + at);
        if self.text.is_empty() {
            return Renderer::plain().render(&[title.element(Origin::path(path)).element(help)]);
        }
        if to - from > LONGEST {
            let origin = Origin::path(path).line(mistake.line).char_column(mistake.column);
            return Renderer::plain().render(&[title.element(origin).element(help)]);
        }
        let end = self.boundary(mistake.span.end).clamp(start, to);
        let (before, under) = (self.shown(from..start), self.shown(start..end));
        let caret = AnnotationKind::Primary.span(before.len()..before.len() + under.len());
        let line = before + &under + &self.shown(end..to);
        let snippet = Snippet::source(line).line_start(mistake.line).path(path).annotation(caret);
        Renderer::plain().render(&[title.element(snippet).element(help)])
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display().to_string();
        for mistake in &self.list {
            writeln!(f, "{}\n", self.render(mistake, &path))?;
        }
        match (self.list.len(), self.more) {
            (1, 0) => write!(f, "1 mistake in {path}"),
            (n, 0) => write!(f, "{n} mistakes in {path}"),
            (n, more) => write!(f, "{} mistakes in {path}, of which the first {n} are shown", n + more),
        }
    }
}

impl std::error::Error for Mistakes {}

impl<'a> IntoIterator for &'a Mistakes {
    type Item = &'a Mistake;
    type IntoIter = std::slice::Iter<'a, Mistake>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl serde::Serialize for Mistakes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.list.serialize(serializer)
    }
}
