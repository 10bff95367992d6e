//! What credits are spent on.

use std::fmt;

/// A kind of work that has a price, as the enum `credit_action_type` writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "credit_action_type", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it all")]
pub enum ActionType {
    AiChatMessage,
    AiCommentResponse,
    AiSentimentAnalysis,
    AiContentSuggestion,
    WorkflowExecution,
    ScheduledTask,
    BulkOperation,
    YoutubeSync,
    CommentFetch,
    VideoAnalysis,
    AnalyticsGeneration,
    ExternalApiCall,
    InstagramSync,
}

impl ActionType {
    /// Every action, in the order of the database's enum.
    pub const ALL: [Self; 13] = [
        Self::AiChatMessage,
        Self::AiCommentResponse,
        Self::AiSentimentAnalysis,
        Self::AiContentSuggestion,
        Self::WorkflowExecution,
        Self::ScheduledTask,
        Self::BulkOperation,
        Self::YoutubeSync,
        Self::CommentFetch,
        Self::VideoAnalysis,
        Self::AnalyticsGeneration,
        Self::ExternalApiCall,
        Self::InstagramSync,
    ];

    /// Returns the name as it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AiChatMessage => "ai_chat_message",
            Self::AiCommentResponse => "ai_comment_response",
            Self::AiSentimentAnalysis => "ai_sentiment_analysis",
            Self::AiContentSuggestion => "ai_content_suggestion",
            Self::WorkflowExecution => "workflow_execution",
            Self::ScheduledTask => "scheduled_task",
            Self::BulkOperation => "bulk_operation",
            Self::YoutubeSync => "youtube_sync",
            Self::CommentFetch => "comment_fetch",
            Self::VideoAnalysis => "video_analysis",
            Self::AnalyticsGeneration => "analytics_generation",
            Self::ExternalApiCall => "external_api_call",
            Self::InstagramSync => "instagram_sync",
        }
    }
}

impl fmt::Display for ActionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
