// The playground's request as a program would send it. The key is never in it.
"use strict";

const literal = (value) => JSON.stringify(value, null, 2);  // of JavaScript, and of Python where no true or null is in it
const indented = (text, by) => text.replaceAll("\n", "\n" + " ".repeat(by));
const assignments = (fields) =>
  Object.entries(fields).map(([name, value]) => `    ${name}=${indented(literal(value), 4)},\n`).join("");

const examples = {
  curl({root, body}) {
    const quoted = literal({...body, stream: true}).replaceAll("'", "'\\''");
    return `curl -N ${root}chat \\
  -H 'Authorization: Token <key>' \\
  -H 'Content-Type: application/json' \\
  -d '${quoted}'`;
  },

  fetch({root, body}) {
    return `const response = await fetch(${literal(root + "chat")}, {
  method: "POST",
  headers: {"Content-Type": "application/json", Authorization: "Token <key>"},
  body: JSON.stringify(${indented(literal(body), 2)}),
});
const answer = await response.json();
if (!response.ok) throw answer;  // error, message, request_id …
console.log(answer.response);`;
  },

  openai({root, body}) {
    return `from openai import OpenAI

client = OpenAI(base_url=${literal(root + "v1")}, api_key="<key>")
answer = client.chat.completions.create(
${assignments(body)})
print(answer.choices[0].message.content)`;
  },

  anthropic({root, body, most}) {
    const system = body.messages.filter((message) => message.role === "system").map((message) => message.content);
    const fields = {
      ...body,
      max_tokens: body.max_tokens ?? most,  // required there
      messages: body.messages.filter((message) => message.role !== "system"),
      ...(system.length ? {system: system.join("\n\n")} : {}),
    };
    return `from anthropic import Anthropic

client = Anthropic(base_url=${literal(root.replace(/\/$/, ""))}, api_key="<key>")
answer = client.messages.create(
${assignments(fields)})
print(answer.content[0].text)`;
  },
};
