#!/usr/bin/env python3
"""Write the list of answers that VQA is a classification into:

    python tools/build_vqa_answers.py data/vqav2/v2_mscoco_train2014_annotations.json \\
        data/vqav2/v2_mscoco_val2014_annotations.json --out data/vqav2/answer_list.json

Classes are numbered by the first appearance of their answer, so the order of the files counts:
with train before val they are those of the published weights.
"""

import argparse
import json
import sys

from command_line import run_tool
from tool_parser import ToolParser


def parse_args() -> argparse.Namespace:
    parser = ToolParser(__doc__)
    parser.add_argument('annotations', nargs='+', help='annotation files of VQAv2, in order')
    parser.add_argument('--out', required=True, help='json file to write')
    parser.add_argument(
        '--min-count',
        type=int,
        default=9,  # MIN_COUNT of fiber_mmdet.text.vqa_answers, which is imported later
        metavar='N',
        help='how often an answer has to be given (default: %(default)s, which '
        'leaves 3129 of VQAv2)',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from fiber_mmdet.outputs import output_path, refuse_inputs, write_text
    from fiber_mmdet.text.vqa_answers import agreed_answers, answer_vocabulary

    try:
        refuse_inputs([output_path(args.out)], args.annotations)
        answers = answer_vocabulary(agreed_answers(args.annotations), args.min_count)
        if not answers:
            sys.exit(
                f'error: no answer is given {args.min_count} times: choose a smaller --min-count'
            )
        write_text(args.out, json.dumps(answers, indent=0, ensure_ascii=False), args.annotations)
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')
    print(f'{args.out}: {len(answers)} answers, such as {", ".join(map(repr, answers[:5]))}')


if __name__ == '__main__':
    run_tool(main)
