"""Which IAM actions a recorded call needs, on which resources.

Amazon S3 User Guide, "Required permissions for Amazon S3 API operations"; Amazon SQS Developer
Guide, "Amazon SQS API permissions: Actions and resource reference".
"""

from __future__ import annotations

from tests.services.proxy_calls import Call as RecordedCall
from tests.services.servers import REGION
from tests.unit.infra.policies import Call

__all__ = ["needed"]

_ON_OBJECT = {
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "DeleteObject": "s3:DeleteObject",
}
_ON_BUCKET = {"ListObjectsV2": "s3:ListBucket", "HeadBucket": "s3:ListBucket"}
_ON_QUEUE = {
    "CreateQueue": "sqs:CreateQueue",
    "GetQueueUrl": "sqs:GetQueueUrl",
    "GetQueueAttributes": "sqs:GetQueueAttributes",
    "DeleteQueue": "sqs:DeleteQueue",
    "SendMessage": "sqs:SendMessage",
    "SendMessageBatch": "sqs:SendMessage",
    "ReceiveMessage": "sqs:ReceiveMessage",
    "DeleteMessage": "sqs:DeleteMessage",
    "DeleteMessageBatch": "sqs:DeleteMessage",
    "ChangeMessageVisibility": "sqs:ChangeMessageVisibility",
    "ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
}


def needed(call: RecordedCall, *, account: str) -> list[Call]:
    """Give what a call needs; KeyError for an operation that nobody has thought of here."""
    if call.service == "sqs":
        queue = f"arn:aws:sqs:{REGION}:{account}:{call.resource}"
        return [Call(_ON_QUEUE[call.operation], queue)]
    bucket, _, key = call.resource.partition("/")
    of_bucket = f"arn:aws:s3:::{bucket}"
    if not key:
        return [Call(_ON_BUCKET[call.operation], of_bucket)]
    needs = [Call(_ON_OBJECT[call.operation], f"{of_bucket}/{key}")]
    if call.operation in {"GetObject", "HeadObject"}:
        # Who may not list the bucket is told 403 for a key that is not there, instead of 404.
        needs.append(Call("s3:ListBucket", of_bucket))
    return needs
