"""Reads a sandbox with Google's own client, and checks that it finds what is there.

The argument is JSON: `ready` as the sandbox prints it, and `totals` of its channel.
"""

import json
import sys

from google.auth.exceptions import RefreshError
from google.auth.transport.requests import Request
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

given = json.loads(sys.argv[1])
base, google, totals = given["ready"]["base_url"], given["ready"]["google"], given["totals"]
SCOPES = [
    "https://www.googleapis.com/auth/youtube.readonly",
    "https://www.googleapis.com/auth/youtube.force-ssl",
]


def credentials(refresh_token):
    return Credentials(
        None,
        refresh_token=refresh_token,
        token_uri=f"{base}/token",
        client_id=google["client_id"],
        client_secret=google["client_secret"],
        scopes=SCOPES,
    )


def pages(resource, **query):
    request = resource.list(**query)
    while request is not None:
        answer = request.execute()
        yield from answer.get("items", [])
        request = resource.list_next(request, answer)


owner = credentials(google["refresh_token"])
owner.refresh(Request())
assert owner.valid and owner.token.startswith("ya29."), "a refresh gives a token"
try:
    credentials(google["revoked_refresh_token"]).refresh(Request())
    raise SystemExit("a revoked refresh token was taken")
except RefreshError as error:
    assert "invalid_grant" in str(error), error

youtube = build(
    "youtube", "v3", credentials=owner, client_options={"api_endpoint": base}, static_discovery=True
)

channel = youtube.channels().list(part="id,snippet,statistics,contentDetails,status", mine=True).execute()["items"][0]
assert channel["id"] == google["channel_id"]
assert channel["statistics"]["videoCount"] == str(totals["public_videos"])

playlist = channel["contentDetails"]["relatedPlaylists"]["uploads"]
items = list(pages(youtube.playlistItems(), part="snippet,contentDetails,status", playlistId=playlist, maxResults=50))
uploads = [item["contentDetails"]["videoId"] for item in items]
assert len(set(uploads)) == len(uploads) == totals["listed_videos"]

videos = []
for at in range(0, len(uploads), 50):
    ids = uploads[at : at + 50]
    part = "snippet,contentDetails,statistics,status,liveStreamingDetails"
    videos += youtube.videos().list(part=part, id=",".join(ids)).execute()["items"]
assert set(uploads) - {video["id"] for video in videos} == set(totals["vanished"])

if hasattr(youtube.videos(), "batchGetStats"):
    stats = {}
    for at in range(0, len(uploads), 50):
        request = youtube.videos().batchGetStats(part=["id", "statistics", "contentDetails"], id=uploads[at : at + 50])
        stats |= {stat["id"]: stat["statistics"] for stat in request.execute()["items"]}
    assert all(stats[video["id"]]["viewCount"] == video["statistics"]["viewCount"] for video in videos)

threads, replies, disabled = 0, 0, []
for video in videos:
    try:
        found = list(
            pages(youtube.commentThreads(), part="id,snippet,replies", videoId=video["id"], maxResults=100,
                  textFormat="plainText")
        )
    except HttpError as error:
        assert error.resp.status == 403 and error.error_details[0]["reason"] == "commentsDisabled", error
        disabled.append(video["id"])
        continue
    threads += len(found)
    for thread in found:
        inline = thread.get("replies", {}).get("comments", [])
        count = thread["snippet"]["totalReplyCount"]
        if count > len(inline):
            assert len(inline) == 5
            inline = list(pages(youtube.comments(), part="id,snippet", parentId=thread["id"], maxResults=100))
        assert len({reply["id"] for reply in inline}) == count, thread["id"]
        replies += count
assert (threads, replies) == (totals["threads"], totals["replies"]), (threads, replies)
assert sorted(disabled) == sorted(totals["comments_disabled"])

stream = pages(youtube.commentThreads(), part="id", allThreadsRelatedToChannelId=channel["id"], maxResults=100)
assert sum(1 for _ in stream) == threads

# An access token that is refused makes google-auth refresh and the client repeat the call.
owner.token = "ya29.unknown"
assert youtube.channels().list(part="id", mine=True).execute()["items"][0]["id"] == channel["id"]
assert owner.token != "ya29.unknown"

print(f"{len(uploads)} uploads, {len(videos)} videos, {threads} threads, {replies} replies")
