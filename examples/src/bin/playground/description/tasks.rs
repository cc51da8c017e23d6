//! Init tasks.

use session::Task;

use super::pair;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TaskArg {
    name: String,
    needs: Vec<String>,
    script: String,
}

pub(super) fn task(text: &str) -> Result<TaskArg, String> {
    let (name, script) = pair(text)?;
    let (name, needs) = name.split_once(':').unwrap_or((&name, ""));
    Ok(TaskArg {
        name: name.to_owned(),
        needs: needs
            .split(',')
            .filter(|need| !need.is_empty())
            .map(str::to_owned)
            .collect(),
        script,
    })
}

impl TaskArg {
    pub(super) fn task(&self) -> Task {
        Task::script(&self.name, &self.script).needs(&self.needs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_have_a_name_needs_and_a_script() {
        let expected = |needs: &[&str], script: &str| TaskArg {
            name: "b".to_owned(),
            needs: needs.iter().map(ToString::to_string).collect(),
            script: script.to_owned(),
        };
        assert_eq!(task("b=true"), Ok(expected(&[], "true")));
        assert_eq!(
            task("b:a=x=1; echo $x"),
            Ok(expected(&["a"], "x=1; echo $x"))
        );
        assert_eq!(task("b:a,c=:"), Ok(expected(&["a", "c"], ":")));
        assert!(task("b").is_err());
    }
}
