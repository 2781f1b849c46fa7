// The playground: a conversation, streamed. Whatever anybody wrote, a person, a model or the server, is set as text.
"use strict";

(() => {
  const form = document.getElementById("playground");
  const transcript = document.getElementById("transcript");
  const code = document.getElementById("code");
  const stranger = document.getElementById("stranger");
  const {message, model, system, temperature, max_tokens: maxTokens, key, keep, send, stop, fresh, copy} = form.elements;
  const root = new URL(form.dataset.root, location.href).href;
  const KEPT = "playground-key";
  let store = null;
  try {
    store = sessionStorage;
  } catch {}  // a browser may be told to keep nothing

  let history = [];  // of this tab alone: what was said and answered
  let running = null;  // the AbortController of the answer that is arriving

  // --- the request ---------------------------------------------------------------------------------------------------
  const number = (text) => (text.trim() === "" || isNaN(text) ? text : Number(text));

  function bodyFor(text) {
    const begin = system.value.trim() ? [{role: "system", content: system.value}] : [];
    const body = {model: model.value, messages: [...begin, ...history, {role: "user", content: text}]};
    // What is no number is sent as it is: the server says what is wrong with it.
    if (temperature.value.trim()) body.temperature = number(temperature.value);
    if (maxTokens.value.trim()) body.max_tokens = number(maxTokens.value);
    return body;
  }

  function ask(body, signal) {
    const headers = {"Content-Type": "application/json"};
    const own = key.value.trim();
    if (own) headers.Authorization = `Token ${own}`;
    else if (form.dataset.csrf) headers["X-CSRFToken"] = form.dataset.csrf;
    const credentials = own ? "omit" : "same-origin";
    const options = {method: "POST", headers, credentials, body: JSON.stringify({...body, stream: true}), signal};
    return fetch(form.dataset.chat, options);
  }

  async function* eventsOf(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let unread = "";
    for (;;) {
      const {value, done} = await reader.read();
      if (done) return;
      const events = (unread + value).split("\n\n");
      unread = events.pop();
      for (const event of events) {
        const found = event.match(/^event: (\w+)\ndata: (.*)$/);  // what is left is a comment, a sign of life
        if (found) yield [found[1], JSON.parse(found[2])];
      }
    }
  }

  // --- the page ------------------------------------------------------------------------------------------------------
  function make(tag, text = "", className = "", parent = null) {
    const element = document.createElement(tag);
    element.textContent = text;
    if (className) element.className = className;
    parent?.append(element);
    return element;
  }

  function link(text, address, parent) {
    make("a", text, "", parent).href = address;
  }

  function turn(who, text, className) {
    const article = make("article", "", className, transcript);
    make("h2", who, "", article);
    make("div", text, "text", article);
    transcript.scrollTop = transcript.scrollHeight;
    return article;
  }

  function append(article, text) {
    const followed = transcript.scrollHeight - transcript.scrollTop - transcript.clientHeight < 40;
    article.lastChild.append(text);
    if (followed) transcript.scrollTop = transcript.scrollHeight;
  }

  function conclude(article, answer, seconds, limited) {
    const {prompt_tokens: asked, completion_tokens: said} = answer.usage;
    const facts = [`${answer.tokens_used} tokens (${asked} + ${said})`];
    if (answer.cost !== undefined && answer.cost !== null) facts.push(`$${answer.cost}`);
    facts.push(`${answer.upstream_model} by ${answer.provider}`, `${seconds.toFixed(1)} s`, answer.finish_reason);
    if (answer.message) make("p", answer.message, "note", article);
    if (limited) make("p", `Your budget left ${limited} tokens for this answer.`, "note", article);
    const line = make("p", facts.join(" · ") + " · request ", "quiet facts", article);
    make("code", answer.request_id, "", line);
    transcript.scrollTop = transcript.scrollHeight;
  }

  function problem(text, body, {status, again}) {
    const box = make("section", "", "problem", transcript);
    box.setAttribute("role", "alert");
    const {error, message: words, request_id: id, status: inBand, ...facts} = body;
    make("strong", words, "", box);
    if (error) {
      const line = make("p", "This is ", "", box);
      link(error, `${form.dataset.errors}/${encodeURIComponent(error)}`, line);
      line.append(`, status ${inBand ?? status}; in the log it is request `);
      make("code", id, "", line);
      line.append(".");
    }
    const known = Object.entries(facts).filter(([, value]) => value !== null);
    if (known.length) {
      const list = make("dl", "", "", box);
      for (const [name, value] of known) {
        make("dt", name, "", list);
        const shown = make("dd", "", "", list);
        if (/^https?:\/\//.test(value)) link(value, value, shown);
        else shown.textContent = typeof value === "string" ? value : JSON.stringify(value);
      }
    }
    if (status === 401) link("Log in", `${form.dataset.login}?next=${encodeURIComponent(location.pathname)}`, box);
    if (again) {
      make("button", "Send again", "plain", box).addEventListener("click", () => {
        message.value = text;  // and the button submits the form
      });
    }
    transcript.scrollTop = transcript.scrollHeight;
  }

  function show(isRunning) {
    send.hidden = isRunning;
    stop.hidden = !isRunning;
    fresh.disabled = isRunning;
    transcript.setAttribute("aria-busy", String(isRunning));
  }

  // --- a chat --------------------------------------------------------------------------------------------------------
  async function chat(text) {
    const body = bodyFor(text);
    const started = performance.now();
    let article = null, answer = "", outcome = null;
    const said = () => history.push({role: "user", content: text}, {role: "assistant", content: answer});
    turn("You", text, "mine");
    running = new AbortController();
    show(true);
    try {
      const response = await ask(body, running.signal);
      if (!response.ok) {
        const again = response.headers.get("X-Should-Retry") === "true";
        return problem(text, await response.json(), {status: response.status, again});
      }
      article = turn(body.model, "", "theirs");
      for await (const [name, data] of eventsOf(response)) {
        if (name === "delta") append(article, data.text), answer += data.text;
        else outcome = [name, data];
      }
      if (!outcome) return problem(text, {message: "The connection broke off before the answer was whole."}, {again: true});
      const [name, data] = outcome;
      if (name === "error") return problem(text, data, {again: "retry_after" in data});
      conclude(article, data, (performance.now() - started) / 1000, response.headers.get("X-Budget-Limited"));
      if (answer.trim()) said();
      return text;
    } catch (failure) {
      if (failure.name !== "AbortError") {
        return problem(text, {message: "The server cannot be reached, or the connection broke off."}, {again: true});
      }
      make("p", "Stopped. What had arrived is charged.", "note", article ?? transcript);
      if (answer.trim()) said();
      return text;
    } finally {
      running = null;
      show(false);
    }
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (running) return;
    const text = message.value;
    message.value = "";
    if (stranger && key.value.trim()) stranger.hidden = true;
    const sent = await chat(text);
    if (sent === undefined && !message.value) message.value = text;  // to be mended and sent again
    message.focus();
    refresh();
  });

  stop.addEventListener("click", () => running?.abort());

  fresh.addEventListener("click", () => {
    history = [];
    transcript.replaceChildren();
    message.focus();
    refresh();
  });

  message.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });

  // --- the same in code ----------------------------------------------------------------------------------------------
  function refresh() {
    const most = Number(model.selectedOptions[0]?.dataset.default ?? 1024);
    code.textContent = examples[form.elements.as.value]({root, body: bodyFor(message.value || "Hello!"), most});
  }

  copy.addEventListener("click", async () => {
    getSelection().selectAllChildren(code);
    try {
      await navigator.clipboard.writeText(code.textContent);
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "Selected: press Ctrl+C";  // the browser gives the clipboard to pages of https alone
    }
    setTimeout(() => (copy.textContent = "Copy"), 2000);
  });

  // --- the key: in this page's memory, unless it is to be kept ---------------------------------------------------------
  function keepKey() {
    if (keep.checked && key.value) store?.setItem(KEPT, key.value);
    else store?.removeItem(KEPT);
  }

  key.value = store?.getItem(KEPT) ?? "";
  keep.checked = Boolean(key.value);
  key.addEventListener("input", keepKey);
  keep.addEventListener("change", keepKey);

  // --- a link may fill in the request, and never sends it --------------------------------------------------------------
  for (const [name, value] of new URLSearchParams(location.search)) {
    if (!["message", "model", "system", "temperature", "max_tokens"].includes(name)) continue;
    const field = form.elements[name];
    if (name === "model" && ![...field.options].some((option) => option.value === value)) field.add(new Option(value));
    field.value = value;
  }
  form.addEventListener("input", refresh);
  refresh();
})();
