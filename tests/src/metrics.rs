//! The product's metrics as an oracle: the text format of Prometheus, as far as Sidestep writes it.

/// One value with its name and labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name of the metric.
    pub name: String,
    /// Labels and their values, in the order of the text.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
}

/// All samples of a text; comments and what cannot be read are left out.
#[must_use]
pub fn parse(text: &str) -> Vec<Sample> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
}

/// Sum of the samples of `name` that carry all of `labels`.
#[must_use]
pub fn sum(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> f64 {
    let carries = |sample: &Sample| {
        labels.iter().all(|(label, value)| sample.labels.iter().any(|(l, v)| l == label && v == value))
    };
    samples.iter().filter(|sample| sample.name == name && carries(sample)).map(|sample| sample.value).sum()
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.trim().rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}')?),
        None => (series, ""),
    };
    Some(Sample { name: name.to_owned(), labels: read_labels(labels)?, value: value.parse().ok()? })
}

/// `name="value",…`; in a value a backslash stands before what would end it.
fn read_labels(mut text: &str) -> Option<Vec<(String, String)>> {
    let mut labels = Vec::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = rest.char_indices();
        let end = loop {
            match characters.next()? {
                (end, '"') => break end,
                (_, '\\') => value.push(match characters.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, character) => value.push(character),
            }
        };
        labels.push((name.to_owned(), value));
        text = &rest[end + 1..];
        text = text.strip_prefix(',').unwrap_or(text);
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_over_the_labels_that_are_not_asked_for() {
        let samples =
            parse("# HELP n x\nn{a=\"1\",b=\"x\"} 2\nn{a=\"1\",b=\"y\"} 3\nn{a=\"2\",b=\"x\"} 5\nm 7\n");
        assert_eq!(sum(&samples, "n", &[("a", "1")]), 5.0);
        assert_eq!(sum(&samples, "n", &[]), 10.0);
        assert_eq!(sum(&samples, "m", &[]), 7.0);
        assert_eq!(sum(&samples, "n", &[("a", "3")]), 0.0);
    }

    #[test]
    fn values_may_hold_what_stands_between_them() {
        let samples = parse(r#"n{a="UF,URX",b="\"{}\\"} 1"#);
        let labels = [("a".to_owned(), "UF,URX".to_owned()), ("b".to_owned(), "\"{}\\".to_owned())];
        assert_eq!(samples[0].labels, labels);
    }
}
