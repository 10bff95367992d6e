"""Checks that every field of every answer is in Google's discovery document, with its JSON type.

The argument is JSON: `ready` as the sandbox prints it, and `totals` of its channel.
"""

import json
import sys
import urllib.parse
import urllib.request
from datetime import datetime
from pathlib import Path

import googleapiclient

given = json.loads(sys.argv[1])
base, google, totals = given["ready"]["base_url"], given["ready"]["google"], given["totals"]
documents = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
discovery = json.loads((documents / "youtube.v3.json").read_text())
schemas = discovery["schemas"]
TYPES = {"string": str, "integer": int, "boolean": bool, "number": float, "object": dict, "array": list}
seen = set()


def check(value, schema, path):
    if "$ref" in schema:
        return check(value, schemas[schema["$ref"]], path)
    kind = schema["type"]
    assert type(value) is TYPES[kind], f"{path} is {value!r}, not of type {kind}"
    seen.add(path)
    if kind == "object":
        properties = schema.get("properties", {})
        for name, inner in value.items():
            known = properties.get(name) or schema.get("additionalProperties")
            assert known, f"{path}.{name} is not in the discovery document"
            check(inner, known, f"{path}.{name}")
    elif kind == "array":
        for inner in value:
            check(inner, schema["items"], f"{path}[]")
    elif "enum" in schema:
        assert value in schema["enum"], f"{path} is {value!r}, not one of {schema['enum']}"
    match schema.get("format"):
        case "uint64" | "int64":
            assert str(int(value)) == value, f"{path} is {value!r}"
        case "uint32" | "int32":
            assert 0 <= value < 2**32, f"{path} is {value!r}"
        case "date-time" | "google-datetime":
            datetime.fromisoformat(value.replace("Z", "+00:00"))
        case "google-duration":
            assert value.endswith("s") and float(value[:-1]) >= 0, f"{path} is {value!r}"


def call(url, data=None, token=None):
    request = urllib.request.Request(url, data=data)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


form = {
    "grant_type": "refresh_token",
    "refresh_token": google["refresh_token"],
    "client_id": google["client_id"],
    "client_secret": google["client_secret"],
}
token = call(f"{base}/token", urllib.parse.urlencode(form).encode())["access_token"]


def pages(resource, method="list", **query):
    """Reads and checks every page of a list, by the method's own path and response schema."""
    described = discovery["resources"][resource]["methods"][method]
    unknown = set(query) - set(described["parameters"])
    assert not unknown, f"{resource}.{method} has no {unknown}"
    while True:
        answer = call(f"{base}/{described['path']}?{urllib.parse.urlencode(query)}", token=token)
        check(answer, described["response"], resource)
        yield from answer.get("items", [])
        if "nextPageToken" not in answer:
            return
        query["pageToken"] = answer["nextPageToken"]


list(pages("channels", part="id,snippet,statistics,contentDetails,status,brandingSettings", mine="true"))
uploads = pages("playlistItems", part="id,snippet,contentDetails,status", playlistId=totals["uploads"], maxResults=50)
ids = [item["contentDetails"]["videoId"] for item in uploads]
part = "id,snippet,contentDetails,statistics,status,liveStreamingDetails,fileDetails,player"
for at in range(0, len(ids), 50):
    some = ",".join(ids[at : at + 50])
    list(pages("videos", part=part, id=some, maxHeight=720))
    list(pages("videos", "batchGetStats", part="id,snippet,statistics,contentDetails", id=some))
channel = totals["channel_id"]
threads = list(pages("commentThreads", part="id,snippet,replies", allThreadsRelatedToChannelId=channel, maxResults=100))
for thread in threads:
    if thread["snippet"]["totalReplyCount"] > 5:
        list(pages("comments", part="id,snippet", parentId=thread["id"], maxResults=100))

print(f"revision {discovery['revision']}: {len(seen)} fields checked")
