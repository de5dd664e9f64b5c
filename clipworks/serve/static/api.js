// Asking the API from a page, as whoever is signed in: the page's form token goes with every request.
export class Refusal extends Error {
  constructor(message, status, code, param = "") {
    super(message);
    this.status = status;
    this.code = code;
    this.param = param;
  }
}

// body: FormData, or a value that is sent as JSON. Gives the answer and the milliseconds that the server took.
export async function post(path, body, signal) {
  const headers = {};
  const token = document.querySelector('meta[name="form-token"]')?.content;
  if (token) headers["x-form-token"] = token;
  if (!(body instanceof FormData)) {
    headers["content-type"] = "application/json";
    body = JSON.stringify(body);
  }
  let response, answer;
  try {
    response = await fetch(path, { method: "POST", headers, body, signal });
    answer = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The server does not answer. Is it still running?", response?.status ?? 0, "unreachable");
  }
  if (!response.ok) {
    const { message = `The server answered with status ${response.status}.`, code = "", param } = answer.error ?? {};
    throw new Refusal(message, response.status, code, param ?? "");
  }
  return { answer, milliseconds: Number(response.headers.get("openai-processing-ms")) };
}
