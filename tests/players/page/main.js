// Asks for exercises, does as many at once as it is asked for, and reports what was seen.
import { exercises } from "./exercises.js";

const report = (outcome) => fetch("/report", { method: "POST", body: JSON.stringify(outcome) });

function perform({ id, exercise, player, task }) {
  exercises[exercise](player, task).then(
    (seen) => report({ id, seen }),
    (error) => report({ id, error: `${error}\n${error.stack}` }),
  );
}

for (;;) {
  const answer = await fetch("/next");
  if (answer.status === 200) perform(await answer.json());
}
