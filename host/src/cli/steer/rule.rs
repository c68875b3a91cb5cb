//! A canary's rule, as it is typed.

use std::str::FromStr;

use conclave_core::channel::Share;

use crate::cli::pb;

/// Conditions, and the share of the deliberations that meet all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule(pub(super) pb::CanaryRule);

/// Takes `tenant=acme,role=qa,label:team=core,task_type=OTHER:50%`.
impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "it must be like tenant=acme,role=qa:50%";
        let (conditions, share) = text.rsplit_once(':').ok_or(FORM)?;
        let share: Share = share.parse().map_err(|error| format!("{error}"))?;
        let mut rule = pb::CanaryRule {
            share_basis_points: share.basis_points().into(),
            ..pb::CanaryRule::default()
        };
        for condition in conditions.split(',') {
            let (key, value) = condition.split_once('=').ok_or(FORM)?;
            let (key, value) = (key.trim(), value.trim().to_owned());
            if value.is_empty() {
                return Err(format!("`{key}` has no value"));
            }
            match key {
                "tenant" => rule.tenant = value,
                "role" => rule.role = value,
                "task_type" => rule.task_type = value,
                key => {
                    let label = key.strip_prefix("label:").filter(|label| !label.is_empty());
                    let label = label.ok_or_else(|| {
                        format!("`{key}` is not tenant, role, task_type or label:KEY")
                    })?;
                    rule.labels.insert(label.to_owned(), value);
                }
            }
        }
        Ok(Self(rule))
    }
}

/// The rule as it can be typed.
pub(super) fn typed(rule: &pb::CanaryRule) -> String {
    let mut conditions = Vec::new();
    for (key, value) in [
        ("tenant", &rule.tenant),
        ("role", &rule.role),
        ("task_type", &rule.task_type),
    ] {
        if !value.is_empty() {
            conditions.push(format!("{key}={value}"));
        }
    }
    let mut labels: Vec<_> = rule.labels.iter().collect();
    labels.sort_unstable();
    conditions.extend(
        labels
            .iter()
            .map(|(key, value)| format!("label:{key}={value}")),
    );
    format!(
        "{}:{}",
        conditions.join(","),
        percent(rule.share_basis_points)
    )
}

/// A share of the wire, as people read it.
pub(in crate::cli) fn percent(basis_points: i32) -> String {
    let share = u16::try_from(basis_points).ok();
    let share = share.and_then(|points| Share::try_from(points).ok());
    share.map_or_else(|| "?".to_owned(), |share| share.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_and_printed() {
        for text in [
            "tenant=acme:100%",
            "tenant=acme,role=qa,task_type=OTHER,label:a=1,label:team=core:0.5%",
            "label:url=http://h/:50%",
        ] {
            let Rule(rule) = text.parse().unwrap();
            assert_eq!(typed(&rule), text);
        }
        for (text, why) in [
            ("", "it must be like"),
            ("tenant=acme", "it must be like"),
            ("tenant:5%", "it must be like"),
            ("tenant=:5%", "`tenant` has no value"),
            ("label:=x:5%", "`label:` is not tenant"),
            ("team=x:5%", "`team` is not tenant"),
            ("tenant=a:500%", "is not a share"),
        ] {
            let error = text.parse::<Rule>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
