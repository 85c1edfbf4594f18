"""The bare server on the same SDK: `echo` gives back its text, `same` gives the result in the file named first."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import msgspec
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp_types import CallToolRequestParams, CallToolResult, ListToolsResult, PaginatedRequestParams, TextContent, Tool

ANY = {"type": "object"}


async def main(known: dict[str, Any]) -> None:
    """Serve until stdin ends; `known` is the result of `same`."""

    async def listed(_context: Any, _params: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=[Tool(name=name, input_schema=ANY) for name in ("echo", "same")])

    async def called(_context: Any, params: CallToolRequestParams) -> CallToolResult:
        if params.name == "same":
            text = known["content"][0]["text"]
            return CallToolResult(
                content=[TextContent(type="text", text=text)], structured_content=known["structuredContent"]
            )
        given = params.arguments or {}
        return CallToolResult(content=[TextContent(type="text", text=str(given.get("text", "")))])

    server: Server[Any] = Server("echo", on_list_tools=listed, on_call_tool=called)
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(Path(sys.argv[1]).read_bytes()) if len(sys.argv) > 1 else {}))
