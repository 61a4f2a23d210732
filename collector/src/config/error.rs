//! Why a configuration was not taken, and where.

/// A fault in the configuration; line and column count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Line and column, where known.
    pub position: Option<(usize, usize)>,
    /// What is wrong; names the key.
    pub message: String,
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.position {
            Some((line, column)) => write!(f, "{line}:{column}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for ConfigError {}

impl From<serde_yaml_ng::Error> for ConfigError {
    fn from(error: serde_yaml_ng::Error) -> Self {
        let position = error.location().map(|l| (l.line(), l.column()));
        let mut message = error.to_string();
        if let Some((line, column)) = position {
            let tail = format!(" at line {line} column {column}");
            if let Some(short) = message.strip_suffix(&tail) {
                message = short.to_owned();
            }
        }
        Self { position, message }
    }
}

impl ConfigError {
    /// A fault of a top-level section.
    pub(super) fn near_key(text: &str, key: &str, message: String) -> Self {
        let is_key = |line: &str| {
            line.strip_prefix(key)
                .is_some_and(|rest| rest.trim_start().starts_with(':'))
        };
        let line = text.lines().position(is_key);
        let position = line.map(|line| (line + 1, 1));
        Self { position, message }
    }

    /// A fault of the scrape configuration with this index: where its `job_name` stands.
    pub fn near_job(text: &str, index: usize, message: String) -> Self {
        let position = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim_start().starts_with('#'))
            .filter_map(|(at, line)| {
                let column = line.find("job_name")?;
                let rest = line.get(column + "job_name".len()..)?;
                let key = rest.trim_start_matches(['"', '\'']).trim_start();
                key.starts_with(':').then_some((at + 1, column + 1))
            })
            .nth(index);
        Self { position, message }
    }
}
